// A service of somebody's that verifies access tokens by itself, with the keys that are published.
import assert from "node:assert/strict";
import { test } from "node:test";
import { createRemoteJWKSet, decodeProtectedHeader, jwtVerify } from "jose";
import { account, AUTH } from "./accounts.mjs";

const keys = createRemoteJWKSet(new URL("/.well-known/jwks.json", AUTH));
const expected = { algorithms: ["EdDSA"], issuer: "tollgate", audience: "tollgate", typ: "at+jwt" };

test("an access token is verified by the published keys, without asking whose it is", async () => {
  const who = await account();
  const { payload, protectedHeader } = await jwtVerify(who.token, keys, expected);
  assert.equal(payload.sub.length, 16);
  assert.ok(payload.exp - payload.iat <= 1800);
  assert.equal(protectedHeader.kid, decodeProtectedHeader(who.token).kid);
});

test("a token that was changed is refused by the same keys", async () => {
  const who = await account();
  const [header, payload, signature] = who.token.split(".");
  const claims = JSON.parse(Buffer.from(payload, "base64url"));
  const changed = Buffer.from(JSON.stringify({ ...claims, sub: "AAAAAAAAAAAAAAAA" })).toString("base64url");
  const refused = { code: "ERR_JWS_SIGNATURE_VERIFICATION_FAILED" };
  await assert.rejects(jwtVerify([header, changed, signature].join("."), keys, expected), refused);
});
