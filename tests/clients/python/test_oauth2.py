"""OAuth2's password grant, by the libraries that people use for it."""

import asyncio
import os
import unittest

import httpx
from accounts import AUTH, STAND_IN, ClientCase
from authlib.integrations.base_client import OAuthError
from authlib.integrations.httpx_client import OAuth2Client
from authlib.integrations.requests_client import OAuth2Session as AuthlibSession
from fastapi import Depends, FastAPI
from fastapi.security import OAuth2PasswordBearer
from oauthlib.oauth2 import InvalidGrantError, InvalidScopeError, LegacyApplicationClient
from requests.auth import HTTPBasicAuth
from requests_oauthlib import OAuth2Session

TOKEN = f"{AUTH}/token"
ME = f"{AUTH}/users/me"


def setUpModule():
    # The library refuses what isn't HTTPS unless it is told; these services are on this host.
    os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"


class RequestsOauthlib(ClientCase):
    """It compares the scopes that it asked for with those that it was given, and names the client by HTTP Basic."""

    def granted(self, account, scope=None, **more):
        session = OAuth2Session(client=LegacyApplicationClient(client_id="a client", scope=scope))
        self.addCleanup(session.close)
        session.fetch_token(TOKEN, username=account.name, password=account.password, **more)
        return session

    def test_a_token_is_fetched_whichever_way_the_client_names_itself(self):
        account = self.account(7)
        for more in ({}, {"include_client_id": True}, {"auth": HTTPBasicAuth("a client", "")}):
            with self.subTest(more):
                session = self.granted(account, **more)
                self.assertEqual(session.token["token_type"], "Bearer")
                self.assertTrue(0 < session.token["expires_in"] <= 1800)
                self.assertEqual(session.get(ME).json()["balance"]["available_credits"], 7)

    def test_scopes_come_back_as_they_were_asked_for_and_limit_the_token(self):
        account = self.account()
        session = self.granted(account, scope=["account", "inference"])
        self.assertEqual(set(session.token["scope"]), {"account", "inference"})
        narrow = self.granted(account, scope=["inference"])
        self.assertIsNone(narrow.get(ME).json()["balance"])
        chat = {"model": "capable", "messages": [{"role": "user", "content": "Hi."}]}
        self.assertEqual(narrow.post(f"{STAND_IN}/v1/chat/completions", json=chat).status_code, 200)
        reads = self.granted(account, scope=["account"])
        self.assertEqual(reads.post(f"{STAND_IN}/v1/chat/completions", json=chat).status_code, 403)
        with self.assertRaises(InvalidScopeError):
            self.granted(account, scope=["openid"])
        self.assert_paid(account, 1)

    def test_a_wrong_password_is_an_invalid_grant(self):
        account = self.account()
        account.password = "another pass phrase"
        with self.assertRaises(InvalidGrantError) as refused:
            self.granted(account)
        self.assertIn("don't match", refused.exception.description)


class Authlib(ClientCase):
    def test_a_token_is_fetched_and_sent_by_both_of_its_clients(self):
        account = self.account(7)
        for make in (AuthlibSession, OAuth2Client):
            for method in ("none", "client_secret_basic", "client_secret_post"):
                with self.subTest(make, method=method):
                    client = make("a client", "", token_endpoint_auth_method=method)
                    self.addCleanup(client.close)
                    client.fetch_token(TOKEN, grant_type="password", username=account.name, password=account.password)
                    self.assertEqual(client.get(ME).json()["user_name"], account.name)

    def test_its_errors_are_those_of_oauth2(self):
        account = self.account()
        client = OAuth2Client("a client")
        self.addCleanup(client.close)
        with self.assertRaises(OAuthError) as refused:
            client.fetch_token(TOKEN, grant_type="password", username=account.name, password="another pass phrase")
        self.assertEqual(refused.exception.error, "invalid_grant")
        with self.assertRaises(OAuthError) as refused:
            client.fetch_token(TOKEN, grant_type="client_credentials")
        self.assertEqual(refused.exception.error, "unsupported_grant_type")
        named = OAuth2Client("a client", "a secret")
        self.addCleanup(named.close)
        with self.assertRaises(OAuthError) as refused:
            named.fetch_token(TOKEN, grant_type="password", username=account.name, password=account.password)
        self.assertEqual(refused.exception.error, "invalid_client")


class FastApi(ClientCase):
    """A service of somebody's that lets Tollgate's users in: FastAPI's own way, with its tokens from here."""

    def service(self):
        app, scheme = FastAPI(), OAuth2PasswordBearer(tokenUrl=TOKEN)

        @app.get("/whoami")
        def whoami(token: str = Depends(scheme)):
            answer = httpx.get(ME, headers={"Authorization": f"Bearer {token}"})
            return {"status": answer.status_code, "name": answer.json().get("user_name")}

        return app

    def ask(self, app, path, headers=None):
        async def answer():
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://service") as client:
                return (await client.get(path, headers=headers)).json()

        return asyncio.run(answer())

    def test_the_form_that_its_page_posts_gives_a_token_that_its_dependency_takes(self):
        account = self.account()
        service = self.service()
        schemes = self.ask(service, "/openapi.json")["components"]["securitySchemes"]
        self.assertEqual(schemes["OAuth2PasswordBearer"]["flows"]["password"]["tokenUrl"], TOKEN)
        # As its page sends it: the client's name and secret are there, and empty.
        form = {"grant_type": "password", "username": account.name, "password": account.password}
        form.update({"scope": "", "client_id": "", "client_secret": ""})
        granted = httpx.post(TOKEN, data=form, headers={"Authorization": "Basic Og=="})
        self.assertEqual((granted.status_code, granted.headers["cache-control"]), (200, "no-store"))
        bearer = {"Authorization": f"{granted.json()['token_type']} {granted.json()['access_token']}"}
        self.assertEqual(self.ask(service, "/whoami", bearer), {"status": 200, "name": account.name})
        self.assertEqual(self.ask(service, "/whoami", {"Authorization": "Bearer nonsense"}), {"status": 401, "name": None})


if __name__ == "__main__":
    unittest.main()
