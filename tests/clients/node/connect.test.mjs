// Generated stubs over each protocol that Connect's own library speaks: Connect in binary and in JSON, gRPC-Web, gRPC.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createConnectTransport, createGrpcTransport, createGrpcWebTransport } from "@connectrpc/connect-node";
import { createConnectTransport as forBrowsers, createGrpcWebTransport as grpcWebForBrowsers } from "@connectrpc/connect-web";
import { account, assertPaid, assertPaidForWhatWasRead, AUTH, bearer, EMBEDDED, NO_KEY, STAND_IN } from "./accounts.mjs";
import { Accounts } from "./stubs/tollgate/auth/v1/accounts_pb.js";
import { FinishReason, Inference } from "./stubs/tollgate/inference/v1/inference_pb.js";

const TRANSPORTS = {
  "Connect, binary": (baseUrl) => createConnectTransport({ baseUrl, httpVersion: "1.1", useBinaryFormat: true }),
  "Connect, JSON": (baseUrl) => createConnectTransport({ baseUrl, httpVersion: "1.1", useBinaryFormat: false }),
  "Connect, over HTTP/2": (baseUrl) => createConnectTransport({ baseUrl, httpVersion: "2" }),
  "Connect, as browsers send it": (baseUrl) => forBrowsers({ baseUrl }),
  "gRPC-Web": (baseUrl) => createGrpcWebTransport({ baseUrl, httpVersion: "1.1" }),
  "gRPC-Web, as browsers send it": (baseUrl) => grpcWebForBrowsers({ baseUrl }),
  gRPC: (baseUrl) => createGrpcTransport({ baseUrl }),
};
const HELLO = [{ role: "user", content: "Say hello in five words." }];

const reasonOf = (error) => {
  const detail = ConnectError.from(error).details.find(({ type }) => type === "google.rpc.ErrorInfo");
  // Its first field is the reason.
  return detail && new TextDecoder().decode(detail.value.subarray(2, 2 + detail.value[1]));
};
const refused = (code, reason) => (error) => error instanceof ConnectError && error.code === code && reasonOf(error) === reason;

for (const [name, transport] of Object.entries(TRANSPORTS)) {
  const accounts = createClient(Accounts, transport(AUTH));
  const ofModel = createClient(Inference, transport(EMBEDDED));
  const inference = createClient(Inference, transport(STAND_IN));

  test(`${name}: a user logs in, makes a key and reads the balance`, async () => {
    const who = await account();
    const { accessToken } = await accounts.login({ userName: who.userName, password: who.password });
    const { key } = await accounts.createApiKey({ name: "browser" }, bearer(accessToken));
    assert.match(key, /^tg_/);
    assert.equal((await accounts.getBalance({}, bearer(key))).balance.availableCredits, 10n);
  });

  test(`${name}: a chat streams and is paid for once`, async () => {
    const who = await account();
    const events = [];
    const asked = { model: "smollm2", messages: HELLO, maxOutputTokens: 12 };
    for await (const { event } of ofModel.chat(asked, bearer(who.key))) events.push(event);
    assert.equal(events[0].case, "started");
    assert.ok(events.filter((event) => event.case === "delta" && event.value.content).length > 1);
    assert.equal(events.at(-1).value.receipt.chargedCredits, 1n);
    await assertPaid(who, 1);
  });

  test(`${name}: a tool is called`, async () => {
    const who = await account();
    const parametersJson = JSON.stringify({ type: "object", properties: { city: { type: "string" } } });
    const asked = {
      model: "capable",
      messages: [{ role: "user", content: "Use get_weather for Paris." }],
      tools: [{ name: "get_weather", description: "The weather", parametersJson }],
    };
    const events = [];
    for await (const { event } of inference.chat(asked, bearer(who.key))) events.push(event);
    const calls = events.flatMap((event) => (event.case === "delta" ? event.value.toolCalls : []));
    assert.deepEqual(calls.map((call) => [call.name, JSON.parse(call.argumentsJson)]), [["get_weather", { city: "Paris" }]]);
    assert.equal(events.at(-1).value.reason, FinishReason.TOOL_CALLS);
    await assertPaid(who, 1);
  });

  test(`${name}: an answer fits its schema`, async () => {
    const who = await account();
    const jsonSchema = JSON.stringify({ type: "object", properties: { name: { type: "string" } }, required: ["name"] });
    const asked = { model: "capable", messages: HELLO, format: { kind: { case: "jsonSchema", value: jsonSchema } } };
    let said = "";
    for await (const { event } of inference.chat(asked, bearer(who.key))) said += event.case === "delta" ? event.value.content : "";
    assert.deepEqual(JSON.parse(said), { name: "Paris" });
    await assertPaid(who, 1);
  });

  test(`${name}: texts are embedded`, async () => {
    const who = await account();
    const { embeddings } = await inference.embed({ model: "embedder", inputs: ["one", "two"] }, bearer(who.key));
    assert.deepEqual(embeddings.map(({ values }) => values.length), [8, 8]);
    await assertPaid(who, 1);
  });

  test(`${name}: a wrong key, no credits and a model that isn't there are said with their reasons`, async () => {
    const [broke, rich] = [await account(0), await account()];
    const ask = async (key, model) => {
      for await (const _ of inference.chat({ model, messages: HELLO }, bearer(key)));
    };
    await assert.rejects(ask(NO_KEY, "capable"), refused(Code.Unauthenticated, "CREDENTIAL_INVALID"));
    await assert.rejects(ask(broke.key, "capable"), refused(Code.ResourceExhausted, "INSUFFICIENT_CREDITS"));
    await assert.rejects(ask(rich.key, "nosuch"), refused(Code.NotFound, "MODEL_NOT_FOUND"));
    await assert.rejects(accounts.getBalance({}, bearer(NO_KEY)), refused(Code.Unauthenticated, "CREDENTIAL_INVALID"));
    await assert.rejects(inference.showModel({ model: "nosuch" }, bearer(rich.key)), refused(Code.NotFound, "MODEL_NOT_FOUND"));
    await assertPaid(broke);
    await assertPaid(rich);
  });

  test(`${name}: a client that leaves its stream pays for what was read`, async () => {
    const who = await account(5000);
    const leaving = new AbortController();
    let words = 0;
    await assert.rejects(async () => {
      const asked = { model: "slow", messages: HELLO, maxOutputTokens: 2000 };
      for await (const { event } of inference.chat(asked, { ...bearer(who.key), signal: leaving.signal })) {
        words += event.case === "delta" ? 1 : 0;
        if (words === 3) leaving.abort();
      }
    });
    await assertPaidForWhatWasRead(who, 3);
  });
}
