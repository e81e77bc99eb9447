"""The OpenAI SDK, by base URL and key alone."""

import asyncio
import base64
import json
from pathlib import Path

import openai
from accounts import EMBEDDED, EMBEDDED_MODEL, NO_KEY, SECONDS, STAND_IN, ClientCase
from pydantic import BaseModel

PIXEL = (Path(__file__).parents[2] / "integration" / "fixtures" / "pixel.png").read_bytes()
HELLO = [{"role": "user", "content": "Say hello in five words."}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False},
    },
}
TIME = {"type": "function", "function": {"name": "get_time", "parameters": {"type": "object", "properties": {"zone": {"type": "integer"}}}}}


class City(BaseModel):
    name: str
    inhabitants: int
    twins: list[str]


class OpenAi(ClientCase):
    def client(self, key, url=STAND_IN, **more):
        client = openai.OpenAI(base_url=f"{url}/v1", api_key=key, **more)
        self.addCleanup(client.close)
        return client

    def counting_client(self, key):
        """A client with the SDK's own number of retries, and the requests that it sent."""
        sent = []
        http = openai.DefaultHttpxClient(event_hooks={"request": [sent.append]})
        return self.client(key, http_client=http), sent


class Chats(OpenAi):
    def test_a_chat_is_answered_and_its_receipt_is_in_the_usage_and_in_the_headers(self):
        account = self.account(10)
        raw = self.client(account.key, EMBEDDED).chat.completions.with_raw_response.create(
            model=EMBEDDED_MODEL, messages=HELLO, max_tokens=12, temperature=0, seed=7
        )
        answer = raw.parse()
        [choice] = answer.choices
        self.assertTrue(choice.message.content.strip())
        self.assertEqual(choice.message.role, "assistant")
        self.assertIn(choice.finish_reason, ("stop", "length"))
        self.assertEqual(answer.object, "chat.completion")
        self.assertEqual(answer.model, EMBEDDED_MODEL)
        self.assertGreater(answer.usage.prompt_tokens, 0)
        self.assertTrue(0 < answer.usage.completion_tokens <= 12)
        self.assertEqual(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens)
        self.assertEqual(answer.usage.model_extra["cost"], 1)
        self.assertEqual(raw.headers["x-tollgate-charged-credits"], "1")
        self.assertEqual(raw.headers["x-tollgate-remaining-credits"], "9")
        self.assertTrue(raw.headers["x-request-id"])
        self.assert_paid(account, 1)

    def test_a_chat_streams_and_its_last_chunk_has_the_usage_with_the_cost(self):
        account = self.account(10)
        chunks = list(
            self.client(account.key, EMBEDDED).chat.completions.create(
                model=EMBEDDED_MODEL, messages=HELLO, max_completion_tokens=12, stream=True, stream_options={"include_usage": True}
            )
        )
        *pieces, last = chunks
        self.assertEqual(pieces[0].choices[0].delta.role, "assistant")
        self.assertGreater(sum(bool(chunk.choices[0].delta.content) for chunk in pieces), 1)
        self.assertIn(pieces[-1].choices[0].finish_reason, ("stop", "length"))
        self.assertTrue(all(chunk.usage is None for chunk in pieces))
        self.assertEqual({chunk.id for chunk in chunks}, {last.id})
        self.assertEqual(last.choices, [])
        self.assertEqual(last.usage.model_extra["cost"], 1)
        self.assertEqual(last.usage.total_tokens, last.usage.prompt_tokens + last.usage.completion_tokens)
        self.assert_paid(account, 1)

    def test_a_stream_that_asks_for_no_usage_gets_none(self):
        account = self.account()
        stream = self.client(account.key).chat.completions.create(model="capable", messages=HELLO, stream=True)
        chunks = list(stream)
        self.assertEqual("".join(chunk.choices[0].delta.content or "" for chunk in chunks), f"I was told: {HELLO[0]['content']}")
        self.assertTrue(all(chunk.usage is None for chunk in chunks))
        self.assert_paid(account, 1)

    def test_the_system_prompt_and_the_developers_one_reach_the_model(self):
        account = self.account()
        for role in ("system", "developer"):
            messages = [{"role": role, "content": "Be brief."}, {"role": "user", "content": [{"type": "text", "text": "Hi."}]}]
            answer = self.client(account.key).chat.completions.create(model="capable", messages=messages)
            self.assertEqual(answer.choices[0].message.content, "I was told: Hi. My orders: Be brief.")

    def test_a_picture_reaches_a_model_with_vision_as_a_data_url(self):
        account = self.account()
        url = "data:image/png;base64," + base64.b64encode(PIXEL).decode()
        content = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": url}}]
        answer = self.client(account.key).chat.completions.create(model="capable", messages=[{"role": "user", "content": content}])
        self.assertEqual(answer.choices[0].message.content, f"I was told: What is this? I see a picture: PNG, {len(PIXEL)} bytes.")
        self.assert_paid(account, 1)

    def test_a_picture_on_another_server_is_refused_by_the_fields_name(self):
        account = self.account()
        content = [{"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}}]
        with self.assertRaises(openai.BadRequestError) as refused:
            self.client(account.key).chat.completions.create(model="capable", messages=[{"role": "user", "content": content}])
        self.assertIn("image_url", str(refused.exception))
        self.assert_untouched(account)

    def test_stop_seed_and_the_bound_on_tokens_reach_the_model(self):
        account = self.account()
        create = self.client(account.key).chat.completions.create
        stopped = create(
            model="capable", messages=[{"role": "user", "content": "one two three"}], stop=["two"], seed=1, temperature=0.5, top_p=0.9
        )
        self.assertEqual((stopped.choices[0].message.content, stopped.choices[0].finish_reason), ("I was told: one ", "stop"))
        cut = create(model="capable", messages=[{"role": "user", "content": "one two three"}], max_tokens=4, stop="nowhere")
        self.assertEqual((cut.choices[0].message.content, cut.choices[0].finish_reason), ("I was told: one ", "length"))
        self.assert_paid(account, 1, 1)

    def test_logprobs_come_with_their_alternatives_streamed_or_not(self):
        account = self.account()
        asked = {"model": "capable", "messages": HELLO, "logprobs": True, "top_logprobs": 2}
        answer = self.client(account.key).chat.completions.create(**asked)
        tokens = answer.choices[0].logprobs.content
        self.assertEqual("".join(token.token for token in tokens), answer.choices[0].message.content)
        self.assertEqual([len(token.top_logprobs) for token in tokens], [2] * len(tokens))
        self.assertEqual(bytes(tokens[0].bytes).decode(), tokens[0].token)
        streamed = list(self.client(account.key).chat.completions.create(**asked, stream=True))
        said = [token.token for chunk in streamed if chunk.choices[0].logprobs for token in chunk.choices[0].logprobs.content or []]
        self.assertEqual("".join(said), answer.choices[0].message.content)

    def test_a_model_that_can_think_thinks_when_effort_is_asked_for(self):
        account = self.account()
        answer = self.client(account.key).chat.completions.create(model="capable", messages=HELLO, reasoning_effort="high")
        self.assertEqual(answer.choices[0].message.content, f"I was told: {HELLO[0]['content']}")
        self.assertIn("Let me think.", json.dumps(answer.choices[0].message.model_extra))
        self.assert_paid(account, 1)

    def test_what_the_door_cant_do_is_refused_by_name_and_costs_nothing(self):
        account = self.account()
        refusals = {
            "n": {"n": 2},
            "logit_bias": {"logit_bias": {"50256": -100}},
            "audio": {"audio": {"voice": "alloy", "format": "wav"}, "modalities": ["text", "audio"]},
            "max_tokens": {"max_tokens": 0},
            "temperature": {"temperature": -1},
        }
        for field, more in refusals.items():
            with self.subTest(field), self.assertRaises(openai.APIStatusError) as refused:
                self.client(account.key, max_retries=0).chat.completions.create(model="capable", messages=HELLO, **more)
            self.assertIn(refused.exception.status_code, (400, 422))
            self.assertIn(field, str(refused.exception.body))
        self.assert_untouched(account)

    def test_many_at_once_are_each_answered_and_paid_for_once(self):
        account = self.account(20)

        async def ask():
            async with openai.AsyncOpenAI(base_url=f"{STAND_IN}/v1", api_key=account.key) as client:
                asked = (client.chat.completions.create(model="capable", messages=[{"role": "user", "content": f"{n}"}]) for n in range(20))
                return [answer.choices[0].message.content for answer in await asyncio.gather(*asked)]

        self.assertEqual(asyncio.run(ask()), [f"I was told: {n}" for n in range(20)])
        self.assert_paid(account, *[1] * 20)


class Tools(OpenAi):
    def test_a_tool_is_called_and_its_result_is_answered(self):
        account = self.account()
        client = self.client(account.key)
        messages = [{"role": "user", "content": "Use get_weather for Paris."}]
        answer = client.chat.completions.create(model="capable", messages=messages, tools=[WEATHER, TIME], tool_choice="auto")
        [choice] = answer.choices
        self.assertEqual(choice.finish_reason, "tool_calls")
        [called] = choice.message.tool_calls
        self.assertEqual(
            (called.type, called.function.name, json.loads(called.function.arguments)), ("function", "get_weather", {"city": "Paris"})
        )
        # As the SDK's guide does it: the message goes back as it came.
        messages += [choice.message, {"role": "tool", "tool_call_id": called.id, "content": "rain"}]
        answer = client.chat.completions.create(model="capable", messages=messages, tools=[WEATHER, TIME])
        self.assertEqual((answer.choices[0].message.content, answer.choices[0].finish_reason), ("The tool says: rain", "stop"))
        self.assert_paid(account, 1, 1)

    def test_two_tools_are_called_in_a_stream_each_under_an_index_of_its_own(self):
        account = self.account()
        messages = [{"role": "user", "content": "Use get_weather and get_time."}]
        with self.client(account.key).chat.completions.stream(model="capable", messages=messages, tools=[WEATHER, TIME]) as stream:
            for _ in stream:
                pass
            [choice] = stream.get_final_completion().choices
        self.assertEqual(choice.finish_reason, "tool_calls")
        called = [(call.function.name, json.loads(call.function.arguments)) for call in choice.message.tool_calls]
        self.assertEqual(called, [("get_weather", {"city": "Paris"}), ("get_time", {"zone": 1})])
        self.assertEqual(len({call.id for call in choice.message.tool_calls}), 2)
        self.assert_paid(account, 1)

    def test_tools_for_a_model_that_has_none_are_refused_and_cost_nothing(self):
        account = self.account()
        with self.assertRaises(openai.UnprocessableEntityError) as refused:
            self.client(account.key).chat.completions.create(model="stand-in", messages=HELLO, tools=[WEATHER])
        self.assertEqual(refused.exception.code, "MODEL_INCAPABLE")
        self.assert_untouched(account)


class Schemas(OpenAi):
    def test_an_answer_is_parsed_into_the_model_that_was_asked_for(self):
        account = self.account()
        answer = self.client(account.key).chat.completions.parse(model="capable", messages=HELLO, response_format=City)
        self.assertEqual(answer.choices[0].message.parsed, City(name="Paris", inhabitants=1, twins=["Paris"]))
        self.assert_paid(account, 1)

    def test_a_streamed_answer_is_parsed_into_the_model_that_was_asked_for(self):
        account = self.account()
        with self.client(account.key).chat.completions.stream(model="capable", messages=HELLO, response_format=City) as stream:
            for _ in stream:
                pass
            self.assertEqual(stream.get_final_completion().choices[0].message.parsed.inhabitants, 1)
        self.assert_paid(account, 1)

    def test_json_mode_answers_in_json(self):
        account = self.account()
        answer = self.client(account.key).chat.completions.create(model="capable", messages=HELLO, response_format={"type": "json_object"})
        self.assertEqual(json.loads(answer.choices[0].message.content), {"told": HELLO[0]["content"]})


class OtherDoors(OpenAi):
    def test_embeddings_come_as_the_sdk_asks_for_them_and_as_numbers(self):
        account = self.account()
        client = self.client(account.key)
        by_itself = client.embeddings.create(model="embedder", input=["one", "two"])
        as_numbers = client.embeddings.create(model="embedder", input="one", encoding_format="float")
        self.assertEqual([item.index for item in by_itself.data], [0, 1])
        self.assertEqual(len(by_itself.data[0].embedding), 8)
        for one, other in zip(by_itself.data[0].embedding, as_numbers.data[0].embedding):
            self.assertAlmostEqual(one, other, places=6)
        self.assertNotEqual(by_itself.data[0].embedding, by_itself.data[1].embedding)
        self.assertGreater(by_itself.usage.prompt_tokens, 0)
        self.assertEqual(by_itself.usage.model_extra["cost"], 1)
        self.assertEqual(len(client.embeddings.create(model="embedder", input="one", dimensions=4).data[0].embedding), 4)
        self.assert_paid(account, 1, 1, 1)

    def test_a_bare_prompt_is_completed_streamed_or_not(self):
        account = self.account()
        client = self.client(account.key)
        answer = client.completions.create(model="capable", prompt="Once upon a time", max_tokens=50)
        self.assertEqual(answer.choices[0].text, "I was told: Once upon a time")
        self.assertEqual(answer.usage.model_extra["cost"], 1)
        streamed = client.completions.create(model="capable", prompt="Once upon a time", stream=True)
        self.assertEqual("".join(chunk.choices[0].text for chunk in streamed if chunk.choices), answer.choices[0].text)
        self.assert_paid(account, 1, 1)

    def test_models_are_listed_and_shown_for_nothing(self):
        account = self.account()
        client = self.client(account.key)
        names = {model.id for model in client.models.list()}
        self.assertLessEqual({"capable:latest", "slow:latest"}, {name if ":" in name else f"{name}:latest" for name in names})
        self.assertEqual(client.models.retrieve("capable").object, "model")
        with self.assertRaises(openai.NotFoundError) as missing:
            client.models.retrieve("nosuch")
        self.assertEqual(missing.exception.code, "MODEL_NOT_FOUND")
        self.assert_untouched(account)


class Responses(OpenAi):
    def test_a_response_is_answered_streamed_or_not(self):
        account = self.account()
        client = self.client(account.key)
        answer = client.responses.create(model="capable", input="Hi.", instructions="Be brief.", store=False)
        self.assertEqual(answer.output_text, "I was told: Hi. My orders: Be brief.")
        self.assertEqual((answer.status, answer.usage.model_extra["cost"]), ("completed", 1))
        self.assertEqual(answer.usage.total_tokens, answer.usage.input_tokens + answer.usage.output_tokens)
        with client.responses.stream(model="capable", input=[{"role": "user", "content": "Hi."}]) as stream:
            kinds = [event.type for event in stream]
            final = stream.get_final_response()
        self.assertEqual(final.output_text, "I was told: Hi.")
        self.assertEqual((kinds[0], kinds[-1]), ("response.created", "response.completed"))
        self.assertGreater(kinds.count("response.output_text.delta"), 1)
        self.assert_paid(account, 1, 1)

    def test_a_tool_is_called_and_its_result_is_answered(self):
        account = self.account()
        client = self.client(account.key)
        tools = [{"type": "function", **WEATHER["function"]}]
        history = [{"role": "user", "content": "Use get_weather for Paris."}]
        answer = client.responses.create(model="capable", input=history, tools=tools)
        [called] = [item for item in answer.output if item.type == "function_call"]
        self.assertEqual((called.name, json.loads(called.arguments)), ("get_weather", {"city": "Paris"}))
        history += [*answer.output, {"type": "function_call_output", "call_id": called.call_id, "output": "rain"}]
        self.assertEqual(client.responses.create(model="capable", input=history, tools=tools).output_text, "The tool says: rain")
        self.assert_paid(account, 1, 1)

    def test_an_answer_is_parsed_into_the_model_that_was_asked_for(self):
        account = self.account()
        answer = self.client(account.key).responses.parse(model="capable", input="A city.", text_format=City)
        self.assertEqual(answer.output_parsed, City(name="Paris", inhabitants=1, twins=["Paris"]))

    def test_state_that_is_not_kept_is_refused_by_name(self):
        account = self.account()
        with self.assertRaises(openai.APIStatusError) as refused:
            self.client(account.key).responses.create(model="capable", input="Hi.", previous_response_id="resp_1")
        self.assertIn("previous_response_id", str(refused.exception.body))
        self.assert_untouched(account)


class Refusals(OpenAi):
    def test_a_wrong_key_is_an_authentication_error_on_every_door(self):
        account = self.account()
        for key, code in ((NO_KEY, "CREDENTIAL_INVALID"), (account.revoked_key(), "CREDENTIAL_REVOKED")):
            client, sent = self.counting_client(key)
            doors = {
                "chat": lambda: client.chat.completions.create(model="capable", messages=HELLO),
                "stream": lambda: client.chat.completions.create(model="capable", messages=HELLO, stream=True),
                "completions": lambda: client.completions.create(model="capable", prompt="Hi."),
                "embeddings": lambda: client.embeddings.create(model="embedder", input="Hi."),
                "responses": lambda: client.responses.create(model="capable", input="Hi."),
                "models": lambda: client.models.list(),
            }
            for door, ask in doors.items():
                with self.subTest(door, code=code), self.assertRaises(openai.AuthenticationError) as refused:
                    ask()
                self.assertEqual(refused.exception.code, code)
                self.assertTrue(refused.exception.body["message"])
            self.assertEqual(len(sent), len(doors), "a wrong key is not tried again")
        self.assert_untouched(account)

    def test_without_credits_a_call_is_a_402_that_says_what_to_do_and_is_not_tried_again(self):
        account = self.account(0)
        client, sent = self.counting_client(account.key)
        asked = (
            lambda: client.chat.completions.create(model="capable", messages=HELLO),
            lambda: client.chat.completions.create(model="capable", messages=HELLO, stream=True),
            lambda: client.embeddings.create(model="embedder", input="Hi."),
            lambda: client.responses.create(model="capable", input="Hi."),
        )
        for ask in asked:
            with self.assertRaises(openai.APIStatusError) as refused:
                ask()
            self.assertEqual((refused.exception.status_code, refused.exception.code), (402, "INSUFFICIENT_CREDITS"))
            self.assertIn("credit", refused.exception.body["message"])
        self.assertEqual(len(sent), len(asked))
        self.assert_untouched(account)

    def test_a_model_that_isnt_there_is_not_found_and_costs_nothing(self):
        account = self.account()
        client, sent = self.counting_client(account.key)
        asked = (
            lambda: client.chat.completions.create(model="nosuch", messages=HELLO),
            lambda: client.chat.completions.create(model="nosuch", messages=HELLO, stream=True),
            lambda: client.embeddings.create(model="nosuch", input="Hi."),
            lambda: client.responses.create(model="nosuch", input="Hi."),
        )
        for ask in asked:
            with self.assertRaises(openai.NotFoundError) as refused:
                ask()
            self.assertEqual(refused.exception.code, "MODEL_NOT_FOUND")
        self.assertEqual(len(sent), len(asked))
        self.assert_untouched(account)

    def test_a_wrong_path_lists_the_doors(self):
        account = self.account()
        with self.assertRaises(openai.NotFoundError) as refused:
            openai.OpenAI(base_url=STAND_IN, api_key=account.key).chat.completions.create(model="capable", messages=HELLO)
        self.assertIn("/v1/chat/completions", refused.exception.response.text)

    def test_a_model_that_fails_in_mid_stream_is_an_error_in_the_stream(self):
        account = self.account()
        stream = self.client(account.key).chat.completions.create(model="breaks", messages=HELLO, stream=True)
        said = []
        with self.assertRaises(openai.APIError) as failed:
            for chunk in stream:
                said.append(chunk.choices[0].delta.content or "")
        self.assertEqual("".join(said), "word0 word1 ")
        self.assertTrue(failed.exception.code)
        self.assert_paid(account, 1)


class Leaving(OpenAi):
    def test_a_client_that_closes_its_stream_pays_for_what_was_read(self):
        account = self.account(5000)
        stream = self.client(account.key).chat.completions.create(model="slow", messages=HELLO, max_tokens=2000, stream=True)
        words = 0
        for chunk in stream:
            words += bool(chunk.choices[0].delta.content)
            if words == 3:
                break
        stream.close()
        self.assert_paid_for_what_was_read(account, words)

    def test_a_client_that_gives_up_on_a_whole_answer_pays_for_what_was_made(self):
        account = self.account(5000)
        with self.assertRaises(openai.APITimeoutError):
            self.client(account.key, timeout=3, max_retries=0).chat.completions.create(model="slow", messages=HELLO, max_tokens=2000)
        self.assert_paid_for_what_was_read(account, 1)

    def test_a_cancelled_task_pays_for_what_was_read(self):
        account = self.account(5000)

        async def read_three():
            async with openai.AsyncOpenAI(base_url=f"{STAND_IN}/v1", api_key=account.key) as client:
                three_came = asyncio.Event()

                async def read():
                    words = 0
                    async for chunk in await client.chat.completions.create(model="slow", messages=HELLO, max_tokens=2000, stream=True):
                        words += bool(chunk.choices[0].delta.content)
                        if words == 3:
                            three_came.set()

                task = asyncio.create_task(read())
                await asyncio.wait_for(three_came.wait(), SECONDS)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

        asyncio.run(read_three())
        self.assert_paid_for_what_was_read(account, 3)

    def test_a_response_that_is_left_is_paid_for_as_read(self):
        account = self.account(5000)
        stream = self.client(account.key).responses.create(model="slow", input="Hi.", max_output_tokens=2000, stream=True)
        words = 0
        for event in stream:
            words += event.type == "response.output_text.delta"
            if words == 3:
                break
        stream.close()
        self.assert_paid_for_what_was_read(account, words)


class Repetitions(OpenAi):
    def test_a_request_under_the_same_key_is_charged_once_and_its_repetition_says_what_it_cost(self):
        account = self.account()
        client, sent = self.counting_client(account.key)
        once = {"extra_headers": {"Idempotency-Key": "order-1"}}
        client.chat.completions.create(model="capable", messages=HELLO, **once)
        with self.assertRaises(openai.ConflictError) as repeated:
            client.chat.completions.create(model="capable", messages=HELLO, **once)
        self.assertEqual(repeated.exception.code, "REQUEST_RESOLVED")
        self.assertEqual(repeated.exception.response.headers["x-tollgate-charged-credits"], "1")
        self.assertEqual(len(sent), 2, "a repetition that can't help is not tried again")
        self.assert_paid(account, 1)

    def test_another_request_under_the_same_key_is_refused(self):
        account = self.account()
        client = self.client(account.key)
        once = {"extra_headers": {"Idempotency-Key": "order-1"}}
        client.chat.completions.create(model="capable", messages=HELLO, **once)
        with self.assertRaises(openai.UnprocessableEntityError) as reused:
            client.chat.completions.create(model="capable", messages=[{"role": "user", "content": "Another."}], **once)
        self.assertEqual(reused.exception.code, "REQUEST_ID_REUSED")
        self.assert_paid(account, 1)
