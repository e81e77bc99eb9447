"""What people type: curl, with nothing but URL and key."""

import json
import shutil
import subprocess
import unittest

from accounts import AUTH, EMBEDDED, EMBEDDED_MODEL, NO_KEY, STAND_IN, ClientCase

HELLO = [{"role": "user", "content": "Say hello in five words."}]


@unittest.skipUnless(shutil.which("curl"), "there is no curl on this machine")
class Curl(ClientCase):
    def curl(self, *arguments, key=None, json_body=None):
        """Its status and its body. No content type is set but curl's own: people forget it."""
        credential = ["-H", f"Authorization: Bearer {key}"] if key else []
        body = ["-d", json.dumps(json_body)] if json_body is not None else []
        command = ["curl", "-sS", "-w", "\n%{http_code}", *credential, *body, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        text, _, status = done.stdout.rpartition("\n")
        return int(status), text

    def ask(self, path, body, key, url=STAND_IN):
        status, text = self.curl(f"{url}{path}", key=key, json_body=body)
        return status, json.loads(text)


class Answers(Curl):
    def test_a_chat_is_answered_by_each_door_and_paid_for_once(self):
        account = self.account()
        chat = {"model": EMBEDDED_MODEL, "messages": HELLO, "max_tokens": 8}
        status, answer = self.ask("/v1/chat/completions", chat, account.key, EMBEDDED)
        self.assertEqual((status, answer["usage"]["cost"]), (200, 1))
        self.assertTrue(answer["choices"][0]["message"]["content"])
        status, answer = self.ask("/v1/messages", chat, account.key, EMBEDDED)
        self.assertEqual((status, answer["type"], answer["usage"]["cost"]), (200, "message", 1))
        chat = {"model": EMBEDDED_MODEL, "messages": HELLO, "stream": False, "options": {"num_predict": 8}}
        status, answer = self.ask("/api/chat", chat, account.key, EMBEDDED)
        self.assertEqual((status, answer["done"]), (200, True))
        self.assert_paid(account, 1, 1, 1)

    def test_a_stream_is_lines_that_can_be_read_one_by_one(self):
        account = self.account()
        status, text = self.curl("-N", f"{STAND_IN}/v1/chat/completions", key=account.key, json_body=self.streamed("capable"))
        self.assertEqual(status, 200)
        lines = [line for line in text.splitlines() if line and not line.startswith(":")]
        self.assertTrue(all(line.startswith("data: ") for line in lines))
        self.assertEqual(lines[-1], "data: [DONE]")
        status, text = self.curl(f"{STAND_IN}/api/chat", key=account.key, json_body={"model": "capable", "messages": HELLO})
        said = "".join(json.loads(line)["message"]["content"] for line in text.splitlines())
        self.assertEqual((status, said), (200, f"I was told: {HELLO[0]['content']}"))
        self.assert_paid(account, 1, 1)

    def streamed(self, model):
        return {"model": model, "messages": HELLO, "max_tokens": 2000, "stream": True}

    def test_a_tool_a_schema_and_embeddings_are_answered(self):
        account = self.account()
        tool = {
            "type": "function",
            "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
        }
        asked = {"model": "capable", "messages": [{"role": "user", "content": "Use get_weather for Paris."}], "tools": [tool]}
        _, answer = self.ask("/v1/chat/completions", asked, account.key)
        [called] = answer["choices"][0]["message"]["tool_calls"]
        self.assertEqual(json.loads(called["function"]["arguments"]), {"city": "Paris"})
        schema = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
        asked = {
            "model": "capable",
            "messages": HELLO,
            "response_format": {"type": "json_schema", "json_schema": {"name": "c", "schema": schema}},
        }
        _, answer = self.ask("/v1/chat/completions", asked, account.key)
        self.assertEqual(json.loads(answer["choices"][0]["message"]["content"]), {"name": "Paris"})
        _, answer = self.ask("/v1/embeddings", {"model": "embedder", "input": "one"}, account.key)
        self.assertEqual(len(answer["data"][0]["embedding"]), 8)
        self.assert_paid(account, 1, 1, 1)

    def test_a_page_of_another_origin_gets_no_leave_to_read_an_answer(self):
        account = self.account()
        _, headers = self.curl("-i", "-H", "Origin: https://example.com", f"{STAND_IN}/v1/models", key=account.key)
        headers = headers.lower()
        self.assertIn(" 200", headers.splitlines()[0])
        self.assertNotIn("access-control-allow-origin", headers)


class Accounts(Curl):
    def test_a_user_logs_in_and_reads_the_balance_by_connect(self):
        account = self.account(7)
        login = {"user_name": account.name, "password": account.password}
        status, answer = self.ask("/tollgate.auth.v1.Accounts/Login", login, None, AUTH)
        self.assertEqual(status, 200)
        status, answer = self.ask("/tollgate.auth.v1.Accounts/GetBalance", {}, answer["accessToken"], AUTH)
        self.assertEqual((status, answer["balance"]["availableCredits"]), (200, "7"))
        status, answer = self.ask("/tollgate.auth.v1.Accounts/GetBalance", {}, NO_KEY, AUTH)
        self.assertEqual((status, answer["code"]), (401, "unauthenticated"))

    def test_a_token_is_granted_for_a_password_as_oauth2_has_it_and_says_who_it_is(self):
        account = self.account()
        form = ("grant_type=password", f"username={account.name}", f"password={account.password}")
        status, text = self.curl(*(each for field in form for each in ("--data-urlencode", field)), f"{AUTH}/token")
        granted = json.loads(text)
        self.assertEqual((status, granted["token_type"].lower()), (200, "bearer"))
        status, text = self.curl(f"{AUTH}/users/me", key=granted["access_token"])
        self.assertEqual(status, 200)
        self.assertIn(account.name, text)
        wrong = ("grant_type=password", f"username={account.name}", "password=another pass phrase")
        status, text = self.curl(*(each for field in wrong for each in ("--data-urlencode", field)), f"{AUTH}/token")
        self.assertEqual((status, json.loads(text)["error"]), (400, "invalid_grant"))


class Refusals(Curl):
    DOORS = {
        "/v1/chat/completions": {"model": "capable", "messages": HELLO},
        "/v1/completions": {"model": "capable", "prompt": "Hi."},
        "/v1/embeddings": {"model": "embedder", "input": "Hi."},
        "/v1/responses": {"model": "capable", "input": "Hi."},
        "/v1/messages": {"model": "capable", "messages": HELLO, "max_tokens": 50},
        "/api/chat": {"model": "capable", "messages": HELLO},
        "/api/generate": {"model": "capable", "prompt": "Hi."},
        "/api/embed": {"model": "embedder", "input": "Hi."},
        "/api/embeddings": {"model": "embedder", "prompt": "Hi."},
    }

    def test_each_door_asks_for_a_key_before_anything_else(self):
        for path in self.DOORS:
            with self.subTest(path):
                status, text = self.curl(f"{STAND_IN}{path}", "-d", "this is no JSON")
                self.assertEqual(status, 401)
                self.assertIn("key", json.loads(text)["error"] if path.startswith("/api") else json.loads(text)["error"]["message"])

    def test_each_door_refuses_a_wrong_key_a_call_without_credits_and_a_model_that_isnt_there(self):
        broke, rich = self.account(0), self.account()
        for path, body in self.DOORS.items():
            for key, model, expected in ((NO_KEY, None, 401), (broke.key, None, 402), (rich.key, "nosuch", 404)):
                with self.subTest(path, expected=expected):
                    status, answer = self.ask(path, {**body, **({"model": model} if model else {})}, key)
                    self.assertEqual(status, expected, answer)
                    self.assertTrue(answer["error"])
        self.assert_untouched(broke)
        self.assert_untouched(rich)

    def test_a_wrong_path_lists_the_doors_of_that_service(self):
        for url, door in ((STAND_IN, "/v1/chat/completions"), (AUTH, "/token")):
            status, text = self.curl(f"{url}/nowhere")
            self.assertEqual(status, 404)
            json.loads(text)
            self.assertIn(door, text)

    def test_a_wrong_method_says_which_is_right(self):
        account = self.account()
        command = ["curl", "-sS", "-i", "-H", f"Authorization: Bearer {account.key}", f"{STAND_IN}/v1/chat/completions"]
        head = subprocess.run(command, capture_output=True, text=True, check=True).stdout.lower()
        self.assertIn(" 405", head.splitlines()[0])
        self.assertIn("allow: post", head)


class Leaving(Curl):
    def test_a_curl_that_is_killed_in_mid_stream_pays_for_what_was_read(self):
        streams = {
            "/v1/chat/completions": {"model": "slow", "messages": HELLO, "max_tokens": 2000, "stream": True},
            "/v1/completions": {"model": "slow", "prompt": "Hi.", "max_tokens": 2000, "stream": True},
            "/v1/responses": {"model": "slow", "input": "Hi.", "max_output_tokens": 2000, "stream": True},
            "/v1/messages": {"model": "slow", "messages": HELLO, "max_tokens": 2000, "stream": True},
            "/api/chat": {"model": "slow", "messages": HELLO, "options": {"num_predict": 2000}},
            "/api/generate": {"model": "slow", "prompt": "Hi.", "options": {"num_predict": 2000}},
        }
        for path, body in streams.items():
            with self.subTest(path):
                account = self.account(5000)
                command = ["curl", "-sSN", "-H", f"Authorization: Bearer {account.key}", "-d", json.dumps(body), f"{STAND_IN}{path}"]
                with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as curl:
                    words = 0
                    while words < 3:
                        line = curl.stdout.readline()
                        self.assertTrue(line, "the stream ended")
                        words += "word" in line
                    curl.kill()
                self.assert_paid_for_what_was_read(account, words)
