"""OAuth2, by the libraries that people use for it: tokens by password, refreshed by themselves, revoked, asked about and verified."""

import asyncio
import os
import time
import unittest

import httpx
from accounts import AUTH, OPERATOR, STAND_IN, ClientCase
from authlib.integrations.base_client import OAuthError
from authlib.integrations.httpx_client import OAuth2Client
from authlib.integrations.requests_client import OAuth2Session as AuthlibSession
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata
from fastapi import Depends, FastAPI
from fastapi.security import OAuth2PasswordBearer
from joserfc import jwt
from joserfc.errors import BadSignatureError
from joserfc.jwk import KeySet
from oauthlib.oauth2 import DeviceClient, InvalidGrantError, InvalidScopeError, LegacyApplicationClient, OAuth2Error
from requests.auth import HTTPBasicAuth
from requests_oauthlib import OAuth2Session

TOKEN = f"{AUTH}/token"
REVOKE = f"{AUTH}/revoke"
INTROSPECT = f"{AUTH}/introspect"
ME = f"{AUTH}/users/me"
WELL_KNOWN = f"{AUTH}/.well-known"


def setUpModule():
    # The library refuses what isn't HTTPS unless it is told; these services are on this host.
    os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"
    os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"


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

    def test_a_session_is_refreshed_by_the_library_itself_when_its_token_is_over(self):
        account, kept = self.account(7), []
        first = self.granted(account)
        more = {"auto_refresh_url": TOKEN, "auto_refresh_kwargs": {"client_id": "a client"}, "token_updater": kept.append}
        session = OAuth2Session("a client", token={**first.token, "expires_at": time.time() - 10}, **more)
        self.addCleanup(session.close)
        self.assertEqual(session.get(ME).json()["user_name"], account.name)
        [token] = kept
        self.assertNotEqual(token["refresh_token"], first.token["refresh_token"])
        # The one that was used is good no more, but for the once that an answer may be lost.
        session.refresh_token(TOKEN, refresh_token=first.token["refresh_token"], client_id="a client")
        with self.assertRaises(InvalidGrantError):
            session.refresh_token(TOKEN, refresh_token=first.token["refresh_token"], client_id="a client")

    def test_a_wrong_password_is_an_invalid_grant(self):
        account = self.account()
        account.password = "another pass phrase"
        with self.assertRaises(InvalidGrantError) as refused:
            self.granted(account)
        self.assertIn("don't match", refused.exception.description)


class Devices(ClientCase):
    """Sign-ins of devices (RFC 8628), by each library's own client, which a person approves in the browser."""

    GRANT = "urn:ietf:params:oauth:grant-type:device_code"

    def begun(self):
        answer = httpx.post(f"{AUTH}/device_authorization", data={"client_id": "a notebook", "scope": "account inference"})
        self.assertEqual(answer.status_code, 200, answer.text)
        return answer.json()

    def answer(self, account, begun, deny=False):
        login = {"grant_type": "password", "username": account.name, "password": account.password}
        token = httpx.post(TOKEN, data=login).json()["access_token"]
        method, sent = f"{AUTH}/tollgate.auth.v1.Accounts/ApproveDevice", {"userCode": begun["user_code"], "deny": deny}
        answer = httpx.post(method, json=sent, headers={"authorization": f"Bearer {token}"})
        self.assertEqual(answer.status_code, 200, answer.text)

    def test_oauthlibs_device_client_waits_and_has_its_token_once_it_is_approved(self):
        account, begun = self.account(7), self.begun()
        session = OAuth2Session(client=DeviceClient(client_id="a notebook", scope=["inference", "account"]))
        self.addCleanup(session.close)
        ask = {"device_code": begun["device_code"], "include_client_id": True}
        for word in ("authorization_pending", "slow_down"):
            with self.assertRaises(OAuth2Error) as refused:
                session.fetch_token(TOKEN, **ask)
            self.assertEqual(refused.exception.error, word)
        self.answer(account, begun)
        token = session.fetch_token(TOKEN, **ask)
        self.assertEqual(set(token["scope"]), {"account", "inference"})
        self.assertEqual(session.get(ME).json()["balance"]["available_credits"], 7)
        with self.assertRaises(OAuth2Error) as refused:
            session.fetch_token(TOKEN, **ask)
        self.assertEqual(refused.exception.error, "expired_token")

    def test_both_of_authlibs_clients_take_the_grant_and_say_when_it_was_denied(self):
        account = self.account()
        for make in (AuthlibSession, OAuth2Client):
            with self.subTest(make):
                begun, denied = self.begun(), self.begun()
                client = make("a notebook", token_endpoint_auth_method="none")
                self.addCleanup(client.close)
                with self.assertRaises(OAuthError) as refused:
                    client.fetch_token(TOKEN, grant_type=self.GRANT, device_code=begun["device_code"])
                self.assertEqual(refused.exception.error, "authorization_pending")
                self.answer(account, begun)
                client.fetch_token(TOKEN, grant_type=self.GRANT, device_code=begun["device_code"])
                self.assertEqual(client.get(ME).json()["user_name"], account.name)
                self.answer(account, denied, deny=True)
                with self.assertRaises(OAuthError) as refused:
                    client.fetch_token(TOKEN, grant_type=self.GRANT, device_code=denied["device_code"])
                self.assertEqual(refused.exception.error, "access_denied")

    def test_the_metadata_names_where_a_device_begins(self):
        metadata = httpx.get(f"{WELL_KNOWN}/oauth-authorization-server").json()
        self.assertEqual(metadata["device_authorization_endpoint"], f"{AUTH}/device_authorization")
        self.assertIn(self.GRANT, metadata["grant_types_supported"])


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

    def granted(self, account, make, **more):
        client = make("a client", token_endpoint=TOKEN, token_endpoint_auth_method="none", **more)
        self.addCleanup(client.close)
        client.fetch_token(TOKEN, grant_type="password", username=account.name, password=account.password)
        return client

    def test_both_of_its_clients_refresh_by_themselves_and_revoke(self):
        for make in (AuthlibSession, OAuth2Client):
            with self.subTest(make):
                account, kept = self.account(7), []
                client = self.granted(account, make, update_token=lambda token, **_: kept.append(token))
                first = dict(client.token)
                client.token["expires_at"] = int(time.time()) - 10
                self.assertEqual(client.get(ME).json()["user_name"], account.name)
                self.assertNotEqual(kept[0]["refresh_token"], first["refresh_token"])
                revoked = client.revoke_token(REVOKE, token=client.token["refresh_token"], token_type_hint="refresh_token")
                self.assertEqual(revoked.status_code, 200)
                self.assertEqual(client.get(ME).status_code, 401)
                with self.assertRaises(OAuthError) as refused:
                    client.refresh_token(TOKEN, refresh_token=kept[0]["refresh_token"])
                self.assertEqual(refused.exception.error, "invalid_grant")

    def test_a_resource_server_asks_whose_a_token_is(self):
        account = self.account()
        client = self.granted(account, AuthlibSession)
        server = AuthlibSession("a resource server", OPERATOR)
        self.addCleanup(server.close)
        for token in (client.token["access_token"], client.token["refresh_token"], account.key):
            said = server.introspect_token(INTROSPECT, token=token).json()
            self.assertEqual((said["active"], said["username"]), (True, account.name), said)
        client.revoke_token(REVOKE, token=client.token["access_token"])
        said = server.introspect_token(INTROSPECT, token=client.token["access_token"]).json()
        self.assertEqual(said, {"active": False})

    def test_what_it_finds_by_itself_is_whole(self):
        metadata = AuthorizationServerMetadata(httpx.get(f"{WELL_KNOWN}/oauth-authorization-server").json())
        # Which is an endpoint of servers that have pages to log in at.
        for name in set(metadata.REGISTRY_KEYS) - {"authorization_endpoint"}:
            getattr(metadata, f"validate_{name}")()
        self.assertEqual((metadata["token_endpoint"], metadata["introspection_endpoint"]), (TOKEN, INTROSPECT))

    def test_an_access_token_is_verified_by_the_published_keys_and_a_changed_one_is_not(self):
        account = self.account()
        keys = KeySet.import_key_set(httpx.get(f"{WELL_KNOWN}/jwks.json").json())
        verified = jwt.decode(account.token, keys, algorithms=["EdDSA"])
        self.assertEqual((verified.header["typ"], verified.claims["iss"]), ("at+jwt", "tollgate"))
        me = httpx.get(ME, headers={"Authorization": f"Bearer {account.token}"}).json()
        self.assertEqual(verified.claims["sub"], me["user_id"])
        header, claims, signature = account.token.split(".")
        other = self.account().token.split(".")[1]
        with self.assertRaises(BadSignatureError):
            jwt.decode(f"{header}.{other}.{signature}", keys, algorithms=["EdDSA"])

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
