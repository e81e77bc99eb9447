"""An account of its own for each test, made and read through gRPC. What a door says of credits is not believed but looked up."""

import json
import os
import secrets
import subprocess
import time
import unittest

# What scripts/test-clients started. `EMBEDDED` answers by the embedded model, `STAND_IN` by scripts/ollama_stand_in.py.
AUTH = os.environ["CLIENTS_AUTH"]
EMBEDDED = os.environ["CLIENTS_EMBEDDED"]
STAND_IN = os.environ["CLIENTS_STAND_IN"]
OPERATOR = os.environ["CLIENTS_OPERATOR_TOKEN"]
GRPCURL = os.environ["CLIENTS_GRPCURL"]

EMBEDDED_MODEL = "smollm2"
# Until what must come has come. Far longer than it takes.
SECONDS = 20

# What people put where a key is asked for and none is needed.
NO_KEY = "sk-no-key-required"


def call(method, request=None, credential=None):
    """A unary method of auth-service; its JSON."""
    headers = ["-H", f"authorization: Bearer {credential}"] if credential else []
    command = [GRPCURL, "-plaintext", *headers, "-d", json.dumps(request or {}), AUTH.removeprefix("http://"), f"tollgate.auth.v1.{method}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if done.returncode != 0:
        raise AssertionError(f"{method} failed: {done.stderr}")
    return json.loads(done.stdout or "{}")


class Account:
    """A new user with so many credits, an access token and an API key."""

    def __init__(self, credits):
        name, password = "u" + secrets.token_hex(8), secrets.token_urlsafe(18)
        user = {"user_name": name, "password": password, "starting_credits": credits}
        call("Admin/CreateUser", user, OPERATOR)
        self.credits = credits
        self.name = name
        self.password = password
        self.token = call("Accounts/Login", {"user_name": name, "password": password})["accessToken"]
        self.key = call("Accounts/CreateApiKey", {"name": "a client"}, self.token)["key"]

    def revoked_key(self):
        """A key that was right once."""
        made = call("Accounts/CreateApiKey", {"name": "revoked"}, self.token)
        call("Accounts/RevokeApiKey", {"api_key_id": made["apiKey"]["apiKeyId"]}, self.token)
        return made["key"]

    def balance(self):
        """Credits by what became of them: available, held, spent, lapsed, granted."""
        balance = call("Accounts/GetBalance", credential=self.token)["balance"]
        return {name: int(balance.get(f"{name}Credits", 0)) for name in ("available", "held", "spent", "lapsed", "granted")}

    def charges(self):
        """Credits of each call that cost something, newest first."""
        entries = call("Accounts/ListLedgerEntries", {"page_size": 100}, self.token).get("entries", [])
        settled = ("LEDGER_ENTRY_KIND_SETTLE", "LEDGER_ENTRY_KIND_SETTLE_LATE")
        return [abs(int(entry.get("credits", 0))) for entry in entries if entry["kind"] in settled]


class ClientCase(unittest.TestCase):
    """A test that looks at the ledger afterwards."""

    def account(self, credits=10):
        return Account(credits)

    def settled(self, account):
        """The balance, once nothing is held any more."""
        deadline = time.monotonic() + SECONDS
        while (balance := account.balance())["held"] != 0:
            self.assertLess(time.monotonic(), deadline, f"a hold is not gone: {balance}")
            time.sleep(0.05)
        return balance

    def assert_paid(self, account, *charges):
        """So much was charged for each call that cost something, oldest first, and nothing is held."""
        balance = self.settled(account)
        self.assertEqual(account.charges(), list(reversed(charges)))
        spent = sum(charges)
        expected = {"available": account.credits - spent, "held": 0, "spent": spent, "lapsed": 0, "granted": account.credits}
        self.assertEqual(balance, expected)

    def assert_paid_for_what_was_read(self, account, words):
        """A call to the model `slow` that was left after so many words: a credit, and one for each word that was made until then. Not for
        the 2000 words that it could have become: they would have taken 40 s."""
        balance = self.settled(account)
        [charge] = account.charges()
        self.assertEqual(balance["spent"], charge)
        self.assertGreaterEqual(charge, 1 + words)
        self.assertLess(charge, 500)

    def assert_untouched(self, account):
        self.assert_paid(account)
