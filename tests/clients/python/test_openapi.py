"""The OpenAPI documents of both services, by a validator of others; and what they say, against what is answered."""

import unittest

import httpx
from accounts import AUTH, NO_KEY, STAND_IN, ClientCase
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from referencing import Registry
from referencing.jsonschema import DRAFT202012


def document(url):
    return httpx.get(f"{url}/openapi.json").raise_for_status().json()


class Documents(unittest.TestCase):
    def test_both_are_valid_openapi_3_1(self):
        for url in (AUTH, STAND_IN):
            with self.subTest(url):
                self.assertEqual(list(OpenAPIV31SpecValidator(document(url)).iter_errors()), [])


class Answers(ClientCase):
    """Bodies are as their schemas say."""

    def assert_as_described(self, url, path, answer, method="post"):
        described = document(url)
        response = described["paths"][path][method]["responses"][str(answer.status_code)]
        while "$ref" in response:
            response = self.target(described, response["$ref"])
        schema = response["content"]["application/json"]["schema"]
        registry = Registry().with_resource("urn:document", DRAFT202012.create_resource(described))
        absolute = {"$ref": f"urn:document{schema['$ref']}"} if "$ref" in schema else schema
        errors = Draft202012Validator(absolute, registry=registry).iter_errors(answer.json())
        self.assertEqual([error.message for error in errors], [], answer.text)

    def target(self, described, reference):
        for part in reference.removeprefix("#/").split("/"):
            described = described[part]
        return described

    def test_answers_and_refusals_of_auth_service_are_as_described(self):
        account = self.account()
        form = {"grant_type": "password", "username": account.name, "password": account.password}
        for changed in ({}, {"password": "another pass phrase"}, {"grant_type": "refresh_token"}, {"client_secret": "x"}):
            self.assert_as_described(AUTH, "/token", httpx.post(f"{AUTH}/token", data={**form, **changed}))
        for key in (account.key, NO_KEY):
            bearer = {"Authorization": f"Bearer {key}"}
            self.assert_as_described(AUTH, "/users/me", httpx.get(f"{AUTH}/users/me", headers=bearer), "get")
            path = "/tollgate.auth.v1.Accounts/GetBalance"
            self.assert_as_described(AUTH, path, httpx.post(f"{AUTH}{path}", json={}, headers=bearer))

    def test_answers_and_refusals_of_inference_service_are_as_described(self):
        account, broke = self.account(), self.account(0)
        chat = {"model": "capable", "messages": [{"role": "user", "content": "Hi."}], "max_tokens": 20}
        bodies = {"/v1/chat/completions": chat, "/v1/messages": chat, "/api/chat": {**chat, "stream": False}}
        bodies = {path: body for path, body in bodies.items() if path in document(STAND_IN)["paths"]}
        self.assertTrue(bodies)
        for path, body in bodies.items():
            for key, model, status in ((account.key, None, 200), (NO_KEY, None, 401), (broke.key, None, 402), (account.key, "nosuch", 404)):
                with self.subTest(path, status=status):
                    sent = {**body, **({"model": model} if model else {})}
                    answer = httpx.post(f"{STAND_IN}{path}", json=sent, headers={"Authorization": f"Bearer {key}"})
                    self.assertEqual(answer.status_code, status)
                    self.assert_as_described(STAND_IN, path, answer)


if __name__ == "__main__":
    unittest.main()
