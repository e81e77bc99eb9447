"""The Anthropic SDK, by base URL and key alone."""

import base64
from pathlib import Path

import anthropic
from accounts import EMBEDDED, EMBEDDED_MODEL, NO_KEY, STAND_IN, ClientCase
from pydantic import BaseModel

PIXEL = (Path(__file__).parents[2] / "integration" / "fixtures" / "pixel.png").read_bytes()
HELLO = [{"role": "user", "content": "Say hello in five words."}]
WEATHER = {
    "name": "get_weather",
    "description": "The weather in a city",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


class City(BaseModel):
    name: str
    inhabitants: int


def text_of(message):
    return "".join(block.text for block in message.content if block.type == "text")


class Anthropic(ClientCase):
    def client(self, key, url=STAND_IN, **more):
        client = anthropic.Anthropic(base_url=url, api_key=key, **more)
        self.addCleanup(client.close)
        return client

    def counting_client(self, key):
        sent = []
        return self.client(key, http_client=anthropic.DefaultHttpxClient(event_hooks={"request": [sent.append]})), sent


class Messages(Anthropic):
    def test_a_message_is_answered_and_its_receipt_is_in_the_usage_and_in_the_headers(self):
        account = self.account()
        raw = self.client(account.key, EMBEDDED).messages.with_raw_response.create(model=EMBEDDED_MODEL, max_tokens=12, messages=HELLO)
        message = raw.parse()
        self.assertTrue(text_of(message).strip())
        self.assertEqual((message.type, message.role, message.model), ("message", "assistant", EMBEDDED_MODEL))
        self.assertIn(message.stop_reason, ("end_turn", "max_tokens"))
        self.assertGreater(message.usage.input_tokens, 0)
        self.assertTrue(0 < message.usage.output_tokens <= 12)
        self.assertEqual(message.usage.model_extra["cost"], 1)
        self.assertEqual((raw.headers["x-tollgate-charged-credits"], raw.headers["x-tollgate-remaining-credits"]), ("1", "9"))
        self.assert_paid(account, 1)

    def test_a_message_streams(self):
        account = self.account()
        with self.client(account.key, EMBEDDED).messages.stream(model=EMBEDDED_MODEL, max_tokens=12, messages=HELLO) as stream:
            kinds = [event.type for event in stream]
            message = stream.get_final_message()
        self.assertEqual((kinds[0], kinds[-1]), ("message_start", "message_stop"))
        self.assertGreater(kinds.count("content_block_delta"), 1)
        self.assertTrue(text_of(message).strip())
        self.assertTrue(0 < message.usage.output_tokens <= 12)
        self.assert_paid(account, 1)

    def test_the_key_may_come_as_a_bearer(self):
        account = self.account()
        client = anthropic.Anthropic(base_url=STAND_IN, auth_token=account.key, api_key=None)
        self.addCleanup(client.close)
        self.assertEqual(
            text_of(client.messages.create(model="capable", max_tokens=50, messages=HELLO)), f"I was told: {HELLO[0]['content']}"
        )
        self.assert_paid(account, 1)

    def test_the_system_prompt_reaches_the_model_as_text_and_as_blocks(self):
        account = self.account()
        for system in ("Be brief.", [{"type": "text", "text": "Be brief."}]):
            message = self.client(account.key).messages.create(model="capable", max_tokens=50, system=system, messages=HELLO)
            self.assertEqual(text_of(message), f"I was told: {HELLO[0]['content']} My orders: Be brief.")

    def test_a_stop_sequence_and_the_bound_on_tokens_end_an_answer(self):
        account = self.account()
        create = self.client(account.key).messages.create
        cut = create(model="capable", max_tokens=4, messages=[{"role": "user", "content": "one two three"}])
        self.assertEqual((text_of(cut), cut.stop_reason), ("I was told: one ", "max_tokens"))
        stopped = create(model="capable", max_tokens=50, stop_sequences=["two"], messages=[{"role": "user", "content": "one two three"}])
        self.assertEqual(text_of(stopped), "I was told: one ")

    def test_a_picture_reaches_a_model_with_vision(self):
        account = self.account()
        source = {"type": "base64", "media_type": "image/png", "data": base64.b64encode(PIXEL).decode()}
        content = [{"type": "image", "source": source}, {"type": "text", "text": "What is this?"}]
        message = self.client(account.key).messages.create(model="capable", max_tokens=50, messages=[{"role": "user", "content": content}])
        self.assertEqual(text_of(message), f"I was told: What is this? I see a picture: PNG, {len(PIXEL)} bytes.")

    def test_a_model_that_can_think_thinks_when_asked(self):
        account = self.account()
        thinking = {"type": "enabled", "budget_tokens": 1024}
        message = self.client(account.key).messages.create(model="capable", max_tokens=2000, thinking=thinking, messages=HELLO)
        self.assertEqual([block.type for block in message.content], ["thinking", "text"])
        self.assertEqual(message.content[0].thinking, "Let me think. ")
        # As the SDK's guide does it: the blocks go back as they came.
        messages = [*HELLO, {"role": "assistant", "content": message.content}, {"role": "user", "content": "Again."}]
        self.assertEqual(
            text_of(self.client(account.key).messages.create(model="capable", max_tokens=50, messages=messages)), "I was told: Again."
        )


class Tools(Anthropic):
    def test_a_tool_is_called_and_its_result_is_answered(self):
        account = self.account()
        client = self.client(account.key)
        messages = [{"role": "user", "content": "Use get_weather for Paris."}]
        message = client.messages.create(model="capable", max_tokens=50, messages=messages, tools=[WEATHER])
        [called] = [block for block in message.content if block.type == "tool_use"]
        self.assertEqual((message.stop_reason, called.name, called.input), ("tool_use", "get_weather", {"city": "Paris"}))
        result = {"type": "tool_result", "tool_use_id": called.id, "content": "rain"}
        messages += [{"role": "assistant", "content": message.content}, {"role": "user", "content": [result]}]
        message = client.messages.create(model="capable", max_tokens=50, messages=messages, tools=[WEATHER])
        self.assertEqual((text_of(message), message.stop_reason), ("The tool says: rain", "end_turn"))
        self.assert_paid(account, 1, 1)

    def test_a_tool_is_called_in_a_stream(self):
        account = self.account()
        messages = [{"role": "user", "content": "Use get_weather for Paris."}]
        with self.client(account.key).messages.stream(model="capable", max_tokens=50, messages=messages, tools=[WEATHER]) as stream:
            message = stream.get_final_message()
        [called] = [block for block in message.content if block.type == "tool_use"]
        self.assertEqual((message.stop_reason, called.name, called.input), ("tool_use", "get_weather", {"city": "Paris"}))
        self.assert_paid(account, 1)

    def test_an_answer_is_parsed_into_the_model_that_was_asked_for(self):
        account = self.account()
        message = self.client(account.key).messages.parse(model="capable", max_tokens=50, messages=HELLO, output_format=City)
        self.assertEqual(message.parsed_output, City(name="Paris", inhabitants=1))
        self.assert_paid(account, 1)


class Refusals(Anthropic):
    def doors(self, client, model="capable"):
        return (
            lambda: client.messages.create(model=model, max_tokens=50, messages=HELLO),
            lambda: client.messages.create(model=model, max_tokens=50, messages=HELLO, stream=True),
        )

    def test_a_wrong_key_is_an_authentication_error_and_is_not_tried_again(self):
        account = self.account()
        for key in (NO_KEY, account.revoked_key()):
            client, sent = self.counting_client(key)
            for ask in self.doors(client):
                with self.assertRaises(anthropic.AuthenticationError) as refused:
                    ask()
                self.assertEqual(refused.exception.body["type"], "error")
                self.assertEqual(refused.exception.body["error"]["type"], "authentication_error")
                self.assertTrue(refused.exception.body["error"]["code"].startswith("CREDENTIAL_"))
            self.assertEqual(len(sent), 2)
        self.assert_untouched(account)

    def test_without_credits_a_call_is_a_402_that_says_what_to_do_and_is_not_tried_again(self):
        account = self.account(0)
        client, sent = self.counting_client(account.key)
        for ask in self.doors(client):
            with self.assertRaises(anthropic.APIStatusError) as refused:
                ask()
            self.assertEqual((refused.exception.status_code, refused.exception.body["error"]["code"]), (402, "INSUFFICIENT_CREDITS"))
            self.assertIn("credit", refused.exception.body["error"]["message"])
        self.assertEqual(len(sent), 2)
        self.assert_untouched(account)

    def test_a_model_that_isnt_there_is_not_found_and_costs_nothing(self):
        account = self.account()
        for ask in self.doors(self.client(account.key), "nosuch"):
            with self.assertRaises(anthropic.NotFoundError) as refused:
                ask()
            self.assertEqual(refused.exception.body["error"]["type"], "not_found_error")
        self.assert_untouched(account)

    def test_what_the_door_cant_do_is_refused_by_name(self):
        account = self.account()
        server_tool = {"type": "web_search_20250305", "name": "web_search"}
        document = [{"role": "user", "content": [{"type": "document", "source": {"type": "url", "url": "https://example.com/a.pdf"}}]}]
        for field, more in {"tools": {"tools": [server_tool]}, "content": {"messages": document}, "max_tokens": {"max_tokens": 0}}.items():
            asked = {"model": "capable", "max_tokens": 50, "messages": HELLO, **more}
            with self.subTest(field), self.assertRaises(anthropic.APIStatusError) as refused:
                self.client(account.key, max_retries=0).messages.create(**asked)
            self.assertIn(refused.exception.status_code, (400, 422))
            self.assertIn(field, str(refused.exception.body))
        self.assert_untouched(account)

    def test_a_model_that_fails_in_mid_stream_is_an_error_event(self):
        account = self.account()
        said = []
        with self.assertRaises(anthropic.APIStatusError) as failed:
            for event in self.client(account.key).messages.create(model="breaks", max_tokens=50, messages=HELLO, stream=True):
                if event.type == "content_block_delta":
                    said.append(event.delta.text)
        self.assertEqual("".join(said), "word0 word1 ")
        self.assertEqual(failed.exception.body["type"], "error")
        self.assert_paid(account, 1)


class Leaving(Anthropic):
    def test_a_client_that_closes_its_stream_pays_for_what_was_read(self):
        account = self.account(5000)
        words = 0
        with self.client(account.key).messages.stream(model="slow", max_tokens=2000, messages=HELLO) as stream:
            for _ in stream.text_stream:
                words += 1
                if words == 3:
                    break
        self.assert_paid_for_what_was_read(account, words)
