// An account of its own for each test, made and read through gRPC. What a door says of credits is not believed but looked up.
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { Accounts, LedgerEntryKind } from "./stubs/tollgate/auth/v1/accounts_pb.js";
import { Admin } from "./stubs/tollgate/auth/v1/admin_pb.js";

export const AUTH = process.env.CLIENTS_AUTH;
export const EMBEDDED = process.env.CLIENTS_EMBEDDED;
export const STAND_IN = process.env.CLIENTS_STAND_IN;
export const NO_KEY = "sk-no-key-required";
export const HELLO = [{ role: "user", content: "Say hello in five words." }];

// Until what must come has come. Far longer than it takes.
const SECONDS = 20;

const transport = createGrpcTransport({ baseUrl: AUTH });
const accounts = createClient(Accounts, transport);
const admin = createClient(Admin, transport);

export const bearer = (credential) => ({ headers: { authorization: `Bearer ${credential}` } });

// A new user with so many credits, an access token and an API key.
export async function account(credits = 10) {
  const userName = `n${randomBytes(8).toString("hex")}`;
  const password = randomBytes(18).toString("base64url");
  await admin.createUser({ userName, password, startingCredits: BigInt(credits) }, bearer(process.env.CLIENTS_OPERATOR_TOKEN));
  const { accessToken } = await accounts.login({ userName, password });
  const { key } = await accounts.createApiKey({ name: "a client" }, bearer(accessToken));
  return { credits, userName, password, token: accessToken, key };
}

async function settled({ token }) {
  const deadline = Date.now() + SECONDS * 1000;
  for (;;) {
    const { balance } = await accounts.getBalance({}, bearer(token));
    if (balance.heldCredits === 0n) return balance;
    assert.ok(Date.now() < deadline, `a hold is not gone: ${balance.heldCredits}`);
    await sleep(50);
  }
}

async function charges({ token }) {
  const { entries } = await accounts.listLedgerEntries({ pageSize: 100 }, bearer(token));
  const charged = [LedgerEntryKind.SETTLE, LedgerEntryKind.SETTLE_LATE];
  return entries.filter(({ kind }) => charged.includes(kind)).map(({ credits }) => Math.abs(Number(credits)));
}

// So much was charged for each call that cost something, oldest first, and nothing is held.
export async function assertPaid(account, ...expected) {
  const balance = await settled(account);
  assert.deepEqual((await charges(account)).reverse(), expected);
  const spent = expected.reduce((sum, charge) => sum + charge, 0);
  assert.equal(Number(balance.spentCredits), spent);
  assert.equal(Number(balance.availableCredits), account.credits - spent);
}

// A call to the model `slow` that was left after so many words: a credit, and one for each word that was made until then. Not for the 2000
// words that it could have become: they would have taken 40 s.
export async function assertPaidForWhatWasRead(account, words) {
  await settled(account);
  const [charge, ...others] = await charges(account);
  assert.deepEqual(others, []);
  assert.ok(charge >= 1 + words && charge < 500, `${charge} credits for ${words} words`);
}
