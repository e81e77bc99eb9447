"""Ollama's own SDK, by host and header alone."""

import asyncio
import os
from pathlib import Path
from unittest import mock

import ollama
from accounts import EMBEDDED, EMBEDDED_MODEL, NO_KEY, OPERATOR, SECONDS, STAND_IN, ClientCase
from pydantic import BaseModel

PIXEL = Path(__file__).parents[2] / "integration" / "fixtures" / "pixel.png"
HELLO = [{"role": "user", "content": "Say hello in five words."}]


class City(BaseModel):
    name: str
    inhabitants: int


def get_weather(city: str) -> str:
    """The weather in a city.

    Args:
      city: Its name.
    """
    return f"rain in {city}"


class Ollama(ClientCase):
    def client(self, key, url=STAND_IN, **more):
        client = ollama.Client(host=url, headers={"Authorization": f"Bearer {key}"}, **more)
        self.addCleanup(client.close)
        return client


class Chats(Ollama):
    def test_a_chat_is_answered_with_counts_and_paid_for_once(self):
        account = self.account()
        answer = self.client(account.key, EMBEDDED).chat(EMBEDDED_MODEL, HELLO, options={"num_predict": 12, "seed": 7, "temperature": 0})
        self.assertTrue(answer.message.content.strip())
        self.assertTrue(answer.done)
        self.assertIn(answer.done_reason, ("stop", "length"))
        self.assertTrue(0 < answer.eval_count <= 12)
        self.assertGreater(answer.prompt_eval_count, 0)
        self.assert_paid(account, 1)

    def test_a_chat_streams_and_its_last_line_has_the_counts(self):
        account = self.account()
        parts = list(self.client(account.key, EMBEDDED).chat(EMBEDDED_MODEL, HELLO, stream=True, options={"num_predict": 12}))
        self.assertGreater(sum(bool(part.message.content) for part in parts), 1)
        self.assertEqual([part.done for part in parts], [False] * (len(parts) - 1) + [True])
        self.assertGreater(parts[-1].eval_count, 0)
        self.assert_paid(account, 1)

    def test_the_key_in_ollama_api_key_is_enough(self):
        account = self.account()
        with mock.patch.dict(os.environ, {"OLLAMA_API_KEY": account.key, "OLLAMA_HOST": STAND_IN}):
            client = ollama.Client()
        self.addCleanup(client.close)
        self.assertEqual(client.chat("capable", HELLO).message.content, f"I was told: {HELLO[0]['content']}")
        self.assert_paid(account, 1)

    def test_a_prompt_is_gone_on_from_streamed_or_not(self):
        account = self.account()
        client = self.client(account.key)
        self.assertEqual(client.generate("capable", "Once", system="Be brief.").response, "I was told: Once My orders: Be brief.")
        self.assertEqual("".join(part.response for part in client.generate("capable", "Once", stream=True)), "I was told: Once")
        self.assert_paid(account, 1, 1)

    def test_a_picture_reaches_a_model_with_vision(self):
        account = self.account()
        message = {"role": "user", "content": "What is this?", "images": [str(PIXEL)]}
        answer = self.client(account.key).chat("capable", [message]).message.content
        self.assertEqual(answer, f"I was told: What is this? I see a picture: PNG, {PIXEL.stat().st_size} bytes.")
        self.assert_paid(account, 1)

    def test_a_model_that_can_think_thinks_when_asked(self):
        account = self.account()
        parts = list(self.client(account.key).chat("capable", HELLO, think=True, stream=True))
        self.assertEqual("".join(part.message.thinking or "" for part in parts), "Let me think. ")
        self.assertEqual("".join(part.message.content or "" for part in parts), f"I was told: {HELLO[0]['content']}")

    def test_logprobs_come_when_asked_for(self):
        account = self.account()
        answer = self.client(account.key).chat("capable", HELLO, logprobs=True, top_logprobs=2)
        self.assertEqual("".join(token.token for token in answer.logprobs), answer.message.content)
        self.assertEqual(len(answer.logprobs[0].top_logprobs), 2)

    def test_a_function_of_python_is_called_and_its_result_is_answered(self):
        account = self.account()
        client = self.client(account.key)
        messages = [{"role": "user", "content": "Use get_weather for Paris."}]
        for stream in (False, True):
            answer = client.chat("capable", messages, tools=[get_weather], stream=stream)
            said = [part.message for part in answer] if stream else [answer.message]
            [called] = [call for message in said for call in message.tool_calls or []]
            self.assertEqual((called.function.name, called.function.arguments), ("get_weather", {"city": "Paris"}))
        result = {"role": "tool", "content": get_weather(**called.function.arguments), "tool_name": "get_weather"}
        answer = client.chat(
            "capable", [*messages, {"role": "assistant", "content": "", "tool_calls": [called]}, result], tools=[get_weather]
        )
        self.assertEqual(answer.message.content, "The tool says: rain in Paris")
        self.assert_paid(account, 1, 1, 1)

    def test_an_answer_fits_its_schema_streamed_or_not(self):
        account = self.account()
        client = self.client(account.key)
        answer = client.chat("capable", HELLO, format=City.model_json_schema())
        self.assertEqual(City.model_validate_json(answer.message.content), City(name="Paris", inhabitants=1))
        streamed = client.chat("capable", HELLO, format=City.model_json_schema(), stream=True)
        self.assertEqual(City.model_validate_json("".join(part.message.content for part in streamed)).inhabitants, 1)
        self.assert_paid(account, 1, 1)


class OtherDoors(Ollama):
    def test_embeddings_are_made_by_both_of_ollamas_paths(self):
        account = self.account()
        client = self.client(account.key)
        several = client.embed("embedder", ["one", "two"])
        self.assertEqual([len(each) for each in several.embeddings], [8, 8])
        self.assertGreater(several.prompt_eval_count, 0)
        for one, other in zip(several.embeddings[0], client.embeddings("embedder", "one").embedding):
            self.assertAlmostEqual(one, other, places=6)
        self.assert_paid(account, 1, 1)

    def test_models_are_listed_and_shown_for_nothing(self):
        account = self.account()
        client = self.client(account.key)
        self.assertIn("capable:latest", [model.model for model in client.list().models])
        shown = client.show("capable")
        self.assertLessEqual({"completion", "tools", "vision"}, set(shown.capabilities))
        self.assertEqual(shown.details.family, "llama")
        client.ps()
        self.assert_untouched(account)

    def test_what_only_operators_may_is_refused_to_others_and_served_to_them(self):
        account = self.account()
        for ask in (lambda client: client.create("mine", from_="capable", stream=False), lambda client: client.delete("capable")):
            with self.assertRaises(ollama.ResponseError) as refused:
                ask(self.client(account.key))
            self.assertEqual(refused.exception.status_code, 403)
        with self.assertRaises(ollama.ResponseError) as missing:
            self.client(OPERATOR).delete("nosuch")
        self.assertEqual(missing.exception.status_code, 404)

    def test_what_of_ollama_is_not_here_is_said(self):
        account = self.account()
        client = self.client(account.key)
        for ask in (lambda: client.copy("capable", "copy"), lambda: client.pull("capable"), lambda: client.push("capable")):
            with self.assertRaises(ollama.ResponseError) as refused:
                ask()
            self.assertIn(refused.exception.status_code, (404, 501))
            self.assertTrue(refused.exception.error)


class Refusals(Ollama):
    def doors(self, client):
        return {
            "chat": lambda: client.chat("capable", HELLO),
            "stream": lambda: list(client.chat("capable", HELLO, stream=True)),
            "generate": lambda: client.generate("capable", "Hi."),
            "embed": lambda: client.embed("embedder", "Hi."),
        }

    def test_a_wrong_key_is_a_401_on_every_door(self):
        account = self.account()
        for key in (NO_KEY, account.revoked_key()):
            client = self.client(key)
            doors = {**self.doors(client), "list": client.list, "show": lambda client=client: client.show("capable")}
            for door, ask in doors.items():
                with self.subTest(door), self.assertRaises(ollama.ResponseError) as refused:
                    ask()
                self.assertEqual(refused.exception.status_code, 401)
                self.assertIn("key", refused.exception.error)
        self.assert_untouched(account)

    def test_without_credits_a_call_is_a_402_that_says_so(self):
        account = self.account(0)
        for door, ask in self.doors(self.client(account.key)).items():
            with self.subTest(door), self.assertRaises(ollama.ResponseError) as refused:
                ask()
            self.assertEqual(refused.exception.status_code, 402)
            self.assertIn("credit", refused.exception.error)
        self.assert_untouched(account)

    def test_a_model_that_isnt_there_is_not_found_and_costs_nothing(self):
        account = self.account()
        client = self.client(account.key)
        asked = (
            lambda: client.chat("nosuch", HELLO),
            lambda: list(client.chat("nosuch", HELLO, stream=True)),
            lambda: client.generate("nosuch", "Hi."),
            lambda: client.embed("nosuch", "Hi."),
            lambda: client.show("nosuch"),
        )
        for ask in asked:
            with self.assertRaises(ollama.ResponseError) as refused:
                ask()
            self.assertEqual(refused.exception.status_code, 404)
        self.assert_untouched(account)

    def test_a_model_that_fails_in_mid_stream_is_an_error_line(self):
        account = self.account()
        said = []
        with self.assertRaises(ollama.ResponseError) as failed:
            for part in self.client(account.key).chat("breaks", HELLO, stream=True):
                said.append(part.message.content)
        self.assertEqual("".join(said), "word0 word1 ")
        self.assertTrue(failed.exception.error)
        self.assert_paid(account, 1)


class Leaving(Ollama):
    def test_a_client_that_closes_its_stream_pays_for_what_was_read(self):
        account = self.account(5000)
        stream = self.client(account.key).chat("slow", HELLO, stream=True, options={"num_predict": 2000})
        words = sum(bool(next(stream).message.content) for _ in range(3))
        stream.close()
        self.assert_paid_for_what_was_read(account, words)

    def test_a_cancelled_task_pays_for_what_was_read(self):
        account = self.account(5000)

        async def leave():
            client = ollama.AsyncClient(host=STAND_IN, headers={"Authorization": f"Bearer {account.key}"})
            three_came = asyncio.Event()

            async def read():
                words = 0
                async for part in await client.generate("slow", "Hi.", stream=True, options={"num_predict": 2000}):
                    words += bool(part.response)
                    if words == 3:
                        three_came.set()

            task = asyncio.create_task(read())
            await asyncio.wait_for(three_came.wait(), SECONDS)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await client.close()

        asyncio.run(leave())
        self.assert_paid_for_what_was_read(account, 3)
