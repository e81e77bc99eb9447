// The OpenAI SDK, by base URL and key alone.
import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";
import { account, assertPaid, assertPaidForWhatWasRead, EMBEDDED, HELLO, NO_KEY, STAND_IN } from "./accounts.mjs";

const client = (apiKey, url = STAND_IN, more = {}) => new OpenAI({ apiKey, baseURL: `${url}/v1`, ...more });

// A client with the SDK's own number of retries, and the requests that it sent.
function countingClient(apiKey) {
  const sent = [];
  const counting = (url, init) => {
    sent.push(url);
    return fetch(url, init);
  };
  return [client(apiKey, STAND_IN, { fetch: counting }), sent];
}

const CITY = {
  type: "object",
  properties: { name: { type: "string" }, inhabitants: { type: "integer" } },
  required: ["name", "inhabitants"],
  additionalProperties: false,
};
const WEATHER = {
  type: "function",
  function: {
    name: "get_weather",
    description: "The weather in a city",
    parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  },
};

test("a chat is answered, and its receipt is in the usage and in the headers", async () => {
  const who = await account();
  const asked = client(who.key, EMBEDDED).chat.completions.create({ model: "smollm2", messages: HELLO, max_tokens: 12 });
  const { data, response } = await asked.withResponse();
  assert.ok(data.choices[0].message.content.trim());
  assert.ok(data.usage.completion_tokens > 0 && data.usage.completion_tokens <= 12);
  assert.equal(data.usage.cost, 1);
  assert.equal(response.headers.get("x-tollgate-charged-credits"), "1");
  assert.equal(response.headers.get("x-tollgate-remaining-credits"), "9");
  assert.ok(data._request_id);
  await assertPaid(who, 1);
});

test("a chat streams, and its last chunk has the usage with the cost", async () => {
  const who = await account();
  const chunks = [];
  const asked = { model: "smollm2", messages: HELLO, max_tokens: 12, stream: true, stream_options: { include_usage: true } };
  for await (const chunk of await client(who.key, EMBEDDED).chat.completions.create(asked)) chunks.push(chunk);
  assert.ok(chunks.filter((chunk) => chunk.choices[0]?.delta.content).length > 1);
  assert.deepEqual(chunks.at(-1).choices, []);
  assert.equal(chunks.at(-1).usage.cost, 1);
  await assertPaid(who, 1);
});

test("a function is called, and its result is answered, by the SDK's own runner", async () => {
  const who = await account();
  const asked = [];
  const runner = client(who.key).chat.completions.runTools({
    model: "capable",
    messages: [{ role: "user", content: "Use get_weather for Paris." }],
    tools: [
      {
        ...WEATHER,
        function: {
          ...WEATHER.function,
          parse: JSON.parse,
          function: ({ city }) => {
            asked.push(city);
            return `rain in ${city}`;
          },
        },
      },
    ],
  });
  assert.equal(await runner.finalContent(), "The tool says: rain in Paris");
  assert.deepEqual(asked, ["Paris"]);
  await assertPaid(who, 1, 1);
});

test("a tool is called in a stream", async () => {
  const who = await account();
  const messages = [{ role: "user", content: "Use get_weather for Paris." }];
  const stream = client(who.key).chat.completions.stream({ model: "capable", messages, tools: [WEATHER] });
  const { choices } = await stream.finalChatCompletion();
  assert.equal(choices[0].finish_reason, "tool_calls");
  assert.deepEqual(JSON.parse(choices[0].message.tool_calls[0].function.arguments), { city: "Paris" });
  await assertPaid(who, 1);
});

test("an answer fits its schema", async () => {
  const who = await account();
  const response_format = { type: "json_schema", json_schema: { name: "city", strict: true, schema: CITY } };
  const answer = await client(who.key).chat.completions.parse({ model: "capable", messages: HELLO, response_format });
  assert.deepEqual(JSON.parse(answer.choices[0].message.content), { name: "Paris", inhabitants: 1 });
  await assertPaid(who, 1);
});

test("embeddings come as the SDK asks for them, and as numbers", async () => {
  const who = await account();
  const byItself = await client(who.key).embeddings.create({ model: "embedder", input: ["one", "two"] });
  const asNumbers = await client(who.key).embeddings.create({ model: "embedder", input: "one", encoding_format: "float" });
  assert.deepEqual(byItself.data.map(({ embedding }) => embedding.length), [8, 8]);
  byItself.data[0].embedding.forEach((value, index) => assert.ok(Math.abs(value - asNumbers.data[0].embedding[index]) < 1e-6));
  await assertPaid(who, 1, 1);
});

test("a response is answered, streamed or not", async () => {
  const who = await account();
  const answer = await client(who.key).responses.create({ model: "capable", input: "Hi.", instructions: "Be brief." });
  assert.equal(answer.output_text, "I was told: Hi. My orders: Be brief.");
  const final = await client(who.key).responses.stream({ model: "capable", input: "Hi." }).finalResponse();
  assert.equal(final.output_text, "I was told: Hi.");
  await assertPaid(who, 1, 1);
});

test("models are listed for nothing", async () => {
  const who = await account();
  const ids = [];
  for await (const { id } of client(who.key).models.list()) ids.push(id.replace(/:latest$/, ""));
  assert.ok(ids.includes("capable"));
  await assertPaid(who);
});

const refused = (kind, code, status) => (error) => error instanceof kind && error.code === code && error.status === status;

test("a wrong key is an authentication error, and is not tried again", async () => {
  const [wrong, sent] = countingClient(NO_KEY);
  const asked = { model: "capable", messages: HELLO };
  const expected = refused(OpenAI.AuthenticationError, "CREDENTIAL_INVALID", 401);
  await assert.rejects(wrong.chat.completions.create(asked), expected);
  await assert.rejects(wrong.chat.completions.create({ ...asked, stream: true }), expected);
  await assert.rejects(wrong.embeddings.create({ model: "embedder", input: "Hi." }), expected);
  assert.equal(sent.length, 3);
});

test("without credits a call is a 402, and is not tried again", async () => {
  const who = await account(0);
  const [broke, sent] = countingClient(who.key);
  const asked = { model: "capable", messages: HELLO };
  const expected = refused(OpenAI.APIError, "INSUFFICIENT_CREDITS", 402);
  await assert.rejects(broke.chat.completions.create(asked), expected);
  await assert.rejects(broke.chat.completions.create({ ...asked, stream: true }), expected);
  assert.equal(sent.length, 2);
  await assertPaid(who);
});

test("a model that isn't there is not found, and costs nothing", async () => {
  const who = await account();
  const asked = { model: "nosuch", messages: HELLO };
  const expected = refused(OpenAI.NotFoundError, "MODEL_NOT_FOUND", 404);
  await assert.rejects(client(who.key).chat.completions.create(asked), expected);
  await assert.rejects(client(who.key).chat.completions.create({ ...asked, stream: true }), expected);
  await assertPaid(who);
});

test("a model that fails in mid-stream is an error in the stream", async () => {
  const who = await account();
  let said = "";
  await assert.rejects(async () => {
    for await (const chunk of await client(who.key).chat.completions.create({ model: "breaks", messages: HELLO, stream: true })) {
      said += chunk.choices[0].delta.content ?? "";
    }
  }, OpenAI.APIError);
  assert.equal(said, "word0 word1 ");
  await assertPaid(who, 1);
});

test("a client that leaves its stream pays for what was read", async () => {
  const who = await account(5000);
  let words = 0;
  const asked = { model: "slow", messages: HELLO, max_tokens: 2000, stream: true };
  for await (const chunk of await client(who.key).chat.completions.create(asked)) {
    words += chunk.choices[0].delta.content ? 1 : 0;
    if (words === 3) break;
  }
  await assertPaidForWhatWasRead(who, words);
});

test("a request that is aborted is paid for as far as it was answered", async () => {
  const who = await account(5000);
  const leaving = new AbortController();
  const stream = await client(who.key).responses.create({ model: "slow", input: "Hi.", stream: true }, { signal: leaving.signal });
  let words = 0;
  for await (const event of stream) {
    words += event.type === "response.output_text.delta" ? 1 : 0;
    if (words === 3) leaving.abort();
  }
  await assertPaidForWhatWasRead(who, words);
});

test("a request under the same key is charged once", async () => {
  const who = await account();
  const [repeating, sent] = countingClient(who.key);
  const once = { headers: { "idempotency-key": "order-1" } };
  await repeating.chat.completions.create({ model: "capable", messages: HELLO }, once);
  await assert.rejects(
    repeating.chat.completions.create({ model: "capable", messages: HELLO }, once),
    refused(OpenAI.ConflictError, "REQUEST_RESOLVED", 409),
  );
  assert.equal(sent.length, 2);
  await assertPaid(who, 1);
});
