"""Instructor: answers as models of pydantic, over the SDKs of OpenAI and of Anthropic."""

import anthropic
import instructor
import openai
from accounts import EMBEDDED, EMBEDDED_MODEL, NO_KEY, STAND_IN, ClientCase
from instructor.core.exceptions import InstructorRetryException
from pydantic import BaseModel

ASKED = [{"role": "user", "content": "A city."}]


class City(BaseModel):
    """A city."""

    name: str
    inhabitants: int


class Instructor(ClientCase):
    def client(self, key, mode=instructor.Mode.TOOLS, url=STAND_IN):
        return instructor.from_openai(openai.OpenAI(base_url=f"{url}/v1", api_key=key), mode=mode)

    def assert_paris(self, city):
        # Its class is one that instructor makes of ours.
        self.assertEqual((city.name, city.inhabitants), ("Paris", 1))

    def test_an_answer_is_parsed_in_the_mode_that_it_has_by_itself(self):
        account = self.account()
        self.assert_paris(self.client(account.key).create(model="capable", messages=ASKED, response_model=City))
        self.assert_paid(account, 1)

    def test_an_answer_is_parsed_in_the_mode_of_schemas(self):
        account = self.account()
        client = self.client(account.key, instructor.Mode.JSON_SCHEMA)
        self.assert_paris(client.create(model="capable", messages=ASKED, response_model=City))
        self.assert_paid(account, 1)

    def test_a_real_model_is_held_to_a_schema_or_its_engine_is_said_to_have_none(self):
        account = self.account()
        client = self.client(account.key, instructor.Mode.JSON_SCHEMA, EMBEDDED)
        with self.assertRaises(InstructorRetryException) as refused:
            client.create(model=EMBEDDED_MODEL, messages=ASKED, response_model=City, max_retries=0)
        self.assertIn("NOT_SUPPORTED", str(refused.exception))
        self.assert_untouched(account)

    def test_a_provider_is_named_by_a_string(self):
        account = self.account()
        # Not `ollama/`: that provider takes no key.
        mode = instructor.Mode.JSON_SCHEMA
        client = instructor.from_provider("openai/capable", base_url=f"{STAND_IN}/v1", api_key=account.key, mode=mode)
        self.assert_paris(client.create(messages=ASKED, response_model=City))
        self.assert_paid(account, 1)

    def test_a_stream_fills_the_model_bit_by_bit(self):
        account = self.account()
        client = self.client(account.key, instructor.Mode.JSON_SCHEMA)
        partial = list(client.create_partial(model="capable", messages=ASKED, response_model=City))
        self.assertGreater(len(partial), 1)
        self.assert_paris(partial[-1])
        self.assert_paid(account, 1)

    def test_a_stream_in_the_mode_that_it_has_by_itself_fills_the_model(self):
        account = self.account()
        partial = list(self.client(account.key).create_partial(model="capable", messages=ASKED, response_model=City))
        self.assert_paris(partial[-1])
        self.assert_paid(account, 1)

    def test_anthropics_sdk_fills_the_model_too(self):
        account = self.account()
        client = instructor.from_anthropic(anthropic.Anthropic(base_url=STAND_IN, api_key=account.key))
        self.assert_paris(client.create(model="capable", max_tokens=100, messages=ASKED, response_model=City))
        self.assert_paid(account, 1)

    def test_a_client_that_gives_up_pays_for_what_was_made(self):
        # Its streams are lists: nobody can leave them.
        account = self.account(5000)
        client = openai.OpenAI(base_url=f"{STAND_IN}/v1", api_key=account.key, timeout=3, max_retries=0)
        asked = {"model": "slow", "messages": ASKED, "response_model": City, "max_tokens": 2000, "max_retries": 0}
        with self.assertRaises(InstructorRetryException):
            instructor.from_openai(client, mode=instructor.Mode.JSON_SCHEMA).create(**asked)
        self.assert_paid_for_what_was_read(account, 1)

    def test_a_wrong_key_no_credits_and_a_missing_model_are_said(self):
        broke, rich = self.account(0), self.account()
        for key, model, code in (
            (NO_KEY, "capable", "CREDENTIAL_INVALID"),
            (broke.key, "capable", "INSUFFICIENT_CREDITS"),
            (rich.key, "nosuch", "MODEL_NOT_FOUND"),
        ):
            with self.subTest(code), self.assertRaises(InstructorRetryException) as refused:
                self.client(key).create(model=model, messages=ASKED, response_model=City, max_retries=0)
            self.assertIn(code, str(refused.exception))
        self.assert_untouched(broke)
        self.assert_untouched(rich)
