"""LangChain, through its package for Ollama and through its package for OpenAI."""

import ollama
import openai
from accounts import EMBEDDED, EMBEDDED_MODEL, NO_KEY, STAND_IN, ClientCase
from langchain_core.messages import HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_ollama import ChatOllama, OllamaEmbeddings
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel, Field


class City(BaseModel):
    """A city."""

    name: str
    inhabitants: int = Field(ge=1)


@tool
def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"rain in {city}"


class EachPackage:
    """What holds through either package."""

    def test_a_chat_is_answered_and_paid_for_once(self):
        account = self.account()
        answer = self.chat(account.key, EMBEDDED_MODEL, EMBEDDED, most=12).invoke("Say hello in five words.")
        self.assertTrue(answer.content.strip())
        self.assertTrue(0 < answer.usage_metadata["output_tokens"] <= 12)
        self.assert_paid(account, 1)

    def test_a_chat_streams(self):
        account = self.account()
        chunks = list(self.chat(account.key, EMBEDDED_MODEL, EMBEDDED, most=12).stream("Say hello in five words."))
        self.assertGreater(sum(bool(chunk.content) for chunk in chunks), 1)
        self.assert_paid(account, 1)

    def test_a_conversation_with_orders_reaches_the_model(self):
        account = self.account()
        answer = self.chat(account.key).invoke([SystemMessage("Be brief."), HumanMessage("Hi.")])
        self.assertEqual(answer.content, "I was told: Hi. My orders: Be brief.")

    def test_a_tool_is_called_and_its_result_is_answered(self):
        account = self.account()
        model = self.chat(account.key).bind_tools([get_weather])
        asked = HumanMessage("Use get_weather for Paris.")
        answer = model.invoke([asked])
        [called] = answer.tool_calls
        self.assertEqual((called["name"], called["args"]), ("get_weather", {"city": "Paris"}))
        result = get_weather.invoke(called)
        self.assertIsInstance(result, ToolMessage)
        self.assertEqual(model.invoke([asked, answer, result]).content, "The tool says: rain in Paris")
        self.assert_paid(account, 1, 1)

    def test_a_tool_is_called_in_a_stream(self):
        account = self.account()
        whole = None
        for chunk in self.chat(account.key).bind_tools([get_weather]).stream("Use get_weather for Paris."):
            whole = chunk if whole is None else whole + chunk
        self.assertEqual([(call["name"], call["args"]) for call in whole.tool_calls], [("get_weather", {"city": "Paris"})])
        self.assert_paid(account, 1)

    def test_an_answer_is_parsed_into_the_model_that_was_asked_for(self):
        account = self.account()
        answer = self.chat(account.key).with_structured_output(City).invoke("A city.")
        self.assertEqual(answer, City(name="Paris", inhabitants=1))
        self.assert_paid(account, 1)

    def test_texts_are_embedded(self):
        account = self.account()
        embeddings = self.embeddings(account.key)
        several = embeddings.embed_documents(["one", "two"])
        self.assertEqual([len(each) for each in several], [8, 8])
        for one, other in zip(several[0], embeddings.embed_query("one")):
            self.assertAlmostEqual(one, other, places=6)
        self.assert_paid(account, 1, 1)

    def test_a_wrong_key_is_said(self):
        for ask in (lambda: self.chat(NO_KEY).invoke("Hi."), lambda: self.embeddings(NO_KEY).embed_query("Hi.")):
            self.assert_refused(401, ask)

    def test_without_credits_a_call_is_refused(self):
        account = self.account(0)
        asked = (lambda: self.chat(account.key).invoke("Hi."), lambda: self.embeddings(account.key).embed_query("Hi."))
        for ask in asked:
            self.assert_refused(402, ask)
        self.assert_untouched(account)

    def test_a_model_that_isnt_there_is_said(self):
        account = self.account()
        self.assert_refused(404, lambda: self.chat(account.key, "nosuch").invoke("Hi."))
        self.assert_untouched(account)

    def test_a_stream_that_is_left_is_paid_for_as_read(self):
        account = self.account(5000)
        stream = self.chat(account.key, "slow", most=2000).stream("Hi.")
        words = sum(bool(next(stream).content) for _ in range(4))
        stream.close()
        self.assert_paid_for_what_was_read(account, words)


class ThroughOllama(EachPackage, ClientCase):
    def chat(self, key, model="capable", url=STAND_IN, most=None):
        return ChatOllama(model=model, base_url=url, client_kwargs={"headers": {"Authorization": f"Bearer {key}"}}, num_predict=most)

    def embeddings(self, key):
        return OllamaEmbeddings(model="embedder", base_url=STAND_IN, client_kwargs={"headers": {"Authorization": f"Bearer {key}"}})

    def assert_refused(self, status, ask):
        with self.assertRaises(ollama.ResponseError) as refused:
            ask()
        self.assertEqual(refused.exception.status_code, status)


class ThroughOpenAi(EachPackage, ClientCase):
    def chat(self, key, model="capable", url=STAND_IN, most=None):
        return ChatOpenAI(model=model, base_url=f"{url}/v1", api_key=key, max_tokens=most)

    def embeddings(self, key):
        # Else it sends numbers of tokens, by a tokenizer that it downloads.
        return OpenAIEmbeddings(model="embedder", base_url=f"{STAND_IN}/v1", api_key=key, check_embedding_ctx_length=False)

    def assert_refused(self, status, ask):
        with self.assertRaises(openai.APIStatusError) as refused:
            ask()
        self.assertEqual(refused.exception.status_code, status)

    def test_an_answer_is_parsed_out_of_a_tool_that_must_be_called(self):
        account = self.account()
        answer = self.chat(account.key).with_structured_output(City, method="function_calling").invoke("A city.")
        self.assertEqual(answer, City(name="Paris", inhabitants=1))
        self.assert_paid(account, 1)

    def test_the_responses_door_is_taken_when_asked_for(self):
        account = self.account()
        model = ChatOpenAI(model="capable", base_url=f"{STAND_IN}/v1", api_key=account.key, use_responses_api=True)
        self.assertEqual(model.invoke("Hi.").text, "I was told: Hi.")
        self.assertEqual("".join(chunk.text for chunk in model.stream("Hi.")), "I was told: Hi.")
        self.assert_paid(account, 1, 1)
