// Ollama's own SDK, by host and header alone.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Ollama } from "ollama";
import { account, assertPaid, assertPaidForWhatWasRead, EMBEDDED, HELLO, NO_KEY, STAND_IN } from "./accounts.mjs";

const client = (key, host = STAND_IN) => new Ollama({ host, headers: { Authorization: `Bearer ${key}` } });
const CITY = { type: "object", properties: { name: { type: "string" }, inhabitants: { type: "integer" } }, required: ["name"] };
const WEATHER = {
  type: "function",
  function: { name: "get_weather", description: "The weather", parameters: { type: "object", properties: { city: { type: "string" } } } },
};

test("a chat is answered, and paid for once", async () => {
  const who = await account();
  const answer = await client(who.key, EMBEDDED).chat({ model: "smollm2", messages: HELLO, options: { num_predict: 12 } });
  assert.ok(answer.message.content.trim());
  assert.ok(answer.done && answer.eval_count > 0 && answer.prompt_eval_count > 0);
  await assertPaid(who, 1);
});

test("a chat streams, and its last line has the counts", async () => {
  const who = await account();
  const parts = [];
  const asked = { model: "smollm2", messages: HELLO, stream: true, options: { num_predict: 12 } };
  for await (const part of await client(who.key, EMBEDDED).chat(asked)) parts.push(part);
  assert.ok(parts.filter((part) => part.message.content).length > 1);
  assert.deepEqual(parts.map(({ done }) => done), parts.map((_, index) => index === parts.length - 1));
  assert.ok(parts.at(-1).eval_count > 0);
  await assertPaid(who, 1);
});

test("a prompt is gone on from", async () => {
  const who = await account();
  assert.equal((await client(who.key).generate({ model: "capable", prompt: "Once" })).response, "I was told: Once");
  await assertPaid(who, 1);
});

test("a tool is called, and its result is answered", async () => {
  const who = await account();
  const messages = [{ role: "user", content: "Use get_weather for Paris." }];
  const { message } = await client(who.key).chat({ model: "capable", messages, tools: [WEATHER] });
  assert.deepEqual(message.tool_calls.map((call) => [call.function.name, call.function.arguments]), [["get_weather", { city: "Paris" }]]);
  const result = { role: "tool", content: "rain", tool_name: "get_weather" };
  const answer = await client(who.key).chat({ model: "capable", messages: [...messages, message, result], tools: [WEATHER] });
  assert.equal(answer.message.content, "The tool says: rain");
  await assertPaid(who, 1, 1);
});

test("an answer fits its schema", async () => {
  const who = await account();
  const answer = await client(who.key).chat({ model: "capable", messages: HELLO, format: CITY });
  assert.deepEqual(JSON.parse(answer.message.content), { name: "Paris", inhabitants: 1 });
  await assertPaid(who, 1);
});

test("embeddings are made by both of Ollama's paths", async () => {
  const who = await account();
  const { embeddings } = await client(who.key).embed({ model: "embedder", input: ["one", "two"] });
  assert.deepEqual(embeddings.map(({ length }) => length), [8, 8]);
  assert.equal((await client(who.key).embeddings({ model: "embedder", prompt: "one" })).embedding.length, 8);
  await assertPaid(who, 1, 1);
});

test("models are listed and shown for nothing", async () => {
  const who = await account();
  assert.ok((await client(who.key).list()).models.some(({ name }) => name === "capable:latest"));
  assert.ok((await client(who.key).show({ model: "capable" })).capabilities.includes("tools"));
  await client(who.key).ps();
  await assertPaid(who);
});

test("a wrong key, no credits and a model that isn't there are said", async () => {
  const [broke, rich] = [await account(0), await account()];
  const cases = [
    [NO_KEY, "capable", 401],
    [broke.key, "capable", 402],
    [rich.key, "nosuch", 404],
  ];
  for (const [key, model, status] of cases) {
    const said = (error) => error.status_code === status && error.message.length > 0;
    await assert.rejects(client(key).chat({ model, messages: HELLO }), said);
    await assert.rejects(client(key).chat({ model, messages: HELLO, stream: true }), said);
    await assert.rejects(client(key).generate({ model, prompt: "Hi." }), said);
  }
  await assertPaid(broke);
  await assertPaid(rich);
});

test("a model that fails in mid-stream is an error line", async () => {
  const who = await account();
  let said = "";
  await assert.rejects(async () => {
    for await (const part of await client(who.key).chat({ model: "breaks", messages: HELLO, stream: true })) said += part.message.content;
  });
  assert.equal(said, "word0 word1 ");
  await assertPaid(who, 1);
});

test("a client that aborts its stream pays for what was read", async () => {
  const who = await account(5000);
  const leaving = client(who.key);
  let words = 0;
  await assert.rejects(async () => {
    for await (const part of await leaving.chat({ model: "slow", messages: HELLO, stream: true, options: { num_predict: 2000 } })) {
      words += part.message.content ? 1 : 0;
      if (words === 3) leaving.abort();
    }
  });
  await assertPaidForWhatWasRead(who, 3);
});
