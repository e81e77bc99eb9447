"""Tests of scripts/run: what it tells both services of the account page, and what it prints of it. scripts/test runs them."""

import importlib.machinery
import importlib.util
import sys
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
_loader = importlib.machinery.SourceFileLoader("run", str(Path(__file__).with_name("run")))
run = importlib.util.module_from_spec(importlib.util.spec_from_loader("run", _loader))
_loader.exec_module(run)


def listening(auth="127.0.0.1:50051", inference="127.0.0.1:50052", **more):
    return {"TOLLGATE_AUTH_LISTEN": auth, "TOLLGATE_LISTEN": inference, "TOLLGATE_DATA_DIR": "data", **more}


class AccountPage(unittest.TestCase):
    def test_the_models_let_the_page_call_by_either_name_of_this_host_and_other_origins_stay(self):
        page, _, inference = run.with_page(listening())
        self.assertEqual(page, "http://127.0.0.1:50051/")
        self.assertEqual(inference["TOLLGATE_CORS_ORIGINS"], "http://localhost:50051,http://127.0.0.1:50051")
        _, auth, inference = run.with_page(listening(TOLLGATE_CORS_ORIGINS="https://app.example.com"))
        self.assertTrue(inference["TOLLGATE_CORS_ORIGINS"].endswith(",https://app.example.com"))
        self.assertEqual(auth["TOLLGATE_CORS_ORIGINS"], "https://app.example.com")
        page, _, inference = run.with_page(listening("192.0.2.7:8080"))
        self.assertEqual((page, inference["TOLLGATE_CORS_ORIGINS"]), ("http://192.0.2.7:8080/", "http://192.0.2.7:8080"))

    def test_the_page_is_told_where_the_models_are_unless_somebody_said_so_or_no_policy_can_name_it(self):
        _, auth, _ = run.with_page(listening(inference="127.0.0.1:8081"))
        self.assertEqual(auth["TOLLGATE_INFERENCE_URL"], "http://127.0.0.1:8081")
        _, auth, _ = run.with_page(listening(TOLLGATE_INFERENCE_URL="https://models.example.com"))
        self.assertEqual(auth["TOLLGATE_INFERENCE_URL"], "https://models.example.com")
        for everywhere in ["[::1]:50052", "0.0.0.0:50052"]:
            _, auth, _ = run.with_page(listening(inference=everywhere))
            self.assertNotIn("TOLLGATE_INFERENCE_URL", auth)

    def test_the_address_of_the_page_is_printed_where_there_is_one(self):
        for more, says in [({}, True), ({"TOLLGATE_ACCOUNT_PAGE": "false"}, False)]:
            environment = listening(**more)
            page, _, _ = run.with_page(environment)
            printed = run.next_steps(environment, "bin", "smollm2", "Ollama", "tg_key", page)
            self.assertEqual("In a browser, the account page: http://127.0.0.1:50051/\n" in printed, says)


if __name__ == "__main__":
    unittest.main()
