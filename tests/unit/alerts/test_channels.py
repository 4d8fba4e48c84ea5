"""Channels against real servers of this machine: mail over TLS, addresses that change, and files of settings."""

from __future__ import annotations

import base64
import hashlib
import hmac
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.fixtures.mail_server import MailServer, mail_server, make_certificate
from tests.fixtures.receivers import SECRET, receiving

from prometheus.alerts.channel import Message, Outcome
from prometheus.alerts.settings import AlertSettings, read_alert_settings
from prometheus.alerts.webhook import Webhook, signature_headers
from prometheus.errors import UsageError
from prometheus.spelling import printable

MESSAGE = Message(
    "0123456789abcdef", "US: CALM to STÖRM ☂", {"id": "0123456789abcdef", "link": "https://desk.example/x"}
)
RULES = '[[rules]]\nname = "all"\nkinds = ["change"]\n'


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


def settings(folder: Path, text: str) -> AlertSettings:
    for name, secret in (("key", SECRET), ("password", "correct horse")):
        (folder / name).write_text(secret + "\n")
        (folder / name).chmod(0o600)
    (folder / "alerts.toml").write_text(text)
    return read_alert_settings(folder / "alerts.toml")


def mail(folder: Path, server: MailServer, security: str = "starttls", more: str = "") -> Outcome:
    text = (
        f'[channels.m]\ntype = "mail"\nhost = "localhost"\nport = {server.port}\nsecurity = "{security}"\n'
        f'attempts = 1\ntimeout_s = 20\nsender = "regimes@desk.example"\n'
        f'recipients = ["a@desk.example", "b@desk.example"]\n{more}'
    )
    return settings(folder, text + RULES).channels["m"].deliver(MESSAGE)


LOGIN = 'user = "quant"\npassword = {file = "password"}\n'


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_mail_arrives_over_tls_with_its_login(
    security: str, certificate: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    with mail_server(*certificate, is_tls_at_once=security == "tls") as server:
        outcome = mail(tmp_path, server, security, LOGIN)
        assert outcome == Outcome(True, "taken by localhost", 1)
        assert server.logins == [("quant", "correct horse")]
        assert {each.split()[0].upper() for each in server.plain_commands} <= {"EHLO", "STARTTLS"}
        (arrived,) = server.mails
    assert arrived["Message-ID"] == "<0123456789abcdef@desk.example>"
    assert arrived["To"] == "a@desk.example, b@desk.example"
    body = arrived.get_payload(decode=True)
    assert isinstance(body, bytes)
    assert body.decode().startswith("US: CALM to STÖRM ☂\r\nhttps://desk.example/x\r\n")


def test_a_certificate_that_is_not_trusted_gets_no_login_and_no_mail(
    certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    with mail_server(*certificate) as server:
        outcome = mail(tmp_path, server, more=LOGIN)
        assert (outcome.is_sent, server.mails, server.logins) == (False, [], [])
    assert "certificate" in outcome.answer


def test_what_a_mail_server_refuses_is_named(
    certificate: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    with mail_server(*certificate) as server:
        server.refused = {"b@desk.example"}
        some = mail(tmp_path, server, more=LOGIN)
        assert some == Outcome(True, "taken by localhost, but not for b@desk.example: 550 no such mailbox", 1)
        server.refused.add("a@desk.example")
        outcome = mail(tmp_path, server, more=LOGIN)
        assert (outcome.is_sent, outcome.was_refused, len(server.mails)) == (False, True, 1)
        assert outcome.answer == "a@desk.example: 550 no such mailbox; b@desk.example: 550 no such mailbox"
        monkeypatch.setenv("MAIL_PASSWORD", "hunter2")
        wrong = mail(tmp_path, server, more='user = "quant"\npassword = {variable = "MAIL_PASSWORD"}\n')
        assert (wrong.is_sent, "535" in wrong.answer, "hunter2" in wrong.answer) == (False, True, False)
    assert not mail(tmp_path, server).is_sent, "the server is gone"


def test_the_signature_is_that_of_the_specification() -> None:
    body = MESSAGE.to_json()
    headers = signature_headers(f"whsec_{SECRET}", "msg_1", 1_700_000_000, body)
    wanted = hmac.new(bytes(range(32)), b"msg_1.1700000000." + body, hashlib.sha256).digest()
    assert headers == {
        "webhook-id": "msg_1", "webhook-timestamp": "1700000000",
        "webhook-signature": f"v1,{base64.b64encode(wanted).decode()}",
    }  # fmt: skip


def webhook(folder: Path, address: str, more: str = "") -> Webhook:
    text = f'[channels.w]\ntype = "webhook"\naddress = "{address}"\nsecret = {{file = "key"}}\nattempts = 1\n{more}'
    found = settings(folder, text + RULES).channels["w"]
    assert isinstance(found, Webhook)
    return found


def test_a_webhook_over_tls_is_sent_to_a_host_whose_certificate_is_trusted(
    certificate: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with receiving(certificate=certificate) as receiver:
        for host, is_trusted in (("localhost", False), ("localhost", True), ("127.0.0.1", False)):
            if is_trusted:
                monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
            channel = webhook(tmp_path, f"https://{host}:{receiver.port}/alerts?desk=1", "allow_private = true\n")
            outcome = channel.deliver(MESSAGE)
            assert outcome.is_sent == is_trusted, outcome
        assert (receiver.n_requests, list(receiver.taken), receiver.forged) == (1, [MESSAGE.key], [])


def resolving(*answers: str) -> Any:
    """A name server that gives one answer after the other, the last one for ever."""
    left = list(answers)

    def getaddrinfo(_host: str, port: int, *_rest: Any, **_more: Any) -> list[Any]:
        address = left.pop(0) if len(left) > 1 else left[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    return getaddrinfo


def test_a_name_that_leads_inside_later_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with receiving() as receiver:
        monkeypatch.setattr(socket, "getaddrinfo", resolving("93.184.216.34", "127.0.0.1"))
        channel = webhook(tmp_path, f"http://hooks.example:{receiver.port}/alerts")
        outcome = channel.deliver(MESSAGE)
        assert (outcome.is_sent, receiver.n_requests) == (False, 0)
    assert "127.0.0.1, not a public address" in outcome.answer


def test_the_connection_goes_to_the_address_that_was_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with receiving() as receiver:
        judged, astray = resolving("127.0.0.1"), resolving("127.0.0.1", "127.0.0.1", "203.0.113.1")

        def by_name(host: str, *rest: Any, **more: Any) -> Any:
            return (judged if host[0].isdigit() else astray)(host, *rest, **more)

        monkeypatch.setattr(socket, "getaddrinfo", by_name)
        channel = webhook(tmp_path, f"http://hooks.example:{receiver.port}/alerts", "allow_private = true\n")
        assert channel.deliver(MESSAGE).is_sent
        assert receiver.n_requests == 1


def test_a_name_that_is_not_known_now_is_no_fault_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_asked: Any, **_more: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    outcome = webhook(tmp_path, "https://hooks.example/alerts").deliver(MESSAGE)
    assert (outcome.is_sent, outcome.was_refused, outcome.answer) == (False, False, "name or service not known")


HOOK = '[channels.w]\ntype = "webhook"\naddress = "{}"\nsecret = {{file = "key"}}\n'
MAIL = '[channels.m]\ntype = "mail"\nhost = "localhost"\nsender = "a@b.example"\nrecipients = ["c@d.example"]\n'
PUBLIC = HOOK.format("http://8.8.8.8/x")
WRONG = {
    "channels": (RULES, "channels: Field required"),
    "rules": (PUBLIC, "rules: Field required"),
    "no toml": ("channels = [", "is no TOML file"),
    "loopback": (HOOK.format("http://127.0.0.1/x") + RULES, "127.0.0.1 is 127.0.0.1, not a public address"),
    "metadata": (HOOK.format("http://169.254.169.254/x") + RULES, "allow_private = true if that is meant"),
    "mapped": (HOOK.format("http://[::ffff:10.0.0.1]/x") + RULES, "not a public address"),
    "localhost": (HOOK.format("https://localhost/x") + RULES, "not a public address"),
    "octal": (HOOK.format("http://0177.0.0.1/x") + RULES, "not a public address"),
    "scheme": (HOOK.format("gopher://8.8.8.8/x") + RULES, "is not http:// or https://"),
    "user": (HOOK.format("https://me:hunter2@8.8.8.8/x") + RULES, "a user or a password"),
    "token": (HOOK.format("https://8.8.8.8/x?token=hunter2") + RULES, "holds a secret in 'token'"),
    "short key": (PUBLIC.replace("key", "password") + RULES, "is not base64; make one with: openssl"),
    "two places": (PUBLIC.replace('"key"', '"key", variable = "X"') + RULES, "name one place"),
    "empty variable": (PUBLIC.replace('file = "key"', 'variable = "NOT_SET"') + RULES, "NOT_SET holds no secret"),
    "no such file": (PUBLIC.replace('"key"', '"gone"') + RULES, "gone: cannot be read (no such file"),
    "open file": (PUBLIC.replace('"key"', '"open"') + RULES, "others may use it (mode 0644); run: chmod 600"),
    "kind": (PUBLIC + RULES.replace("change", "chnage"), "rules.0.kinds.0: Input should be 'change'"),
    "level": (PUBLIC + RULES.replace("change", "probability"), "the kind probability and a level go together"),
    "of": (PUBLIC + RULES + 'of = "CRISES"\n', "there is no probability 'CRISES'; did you mean CRISIS?"),
    "channel": (PUBLIC + RULES + 'channels = ["x"]\n', "names the channel 'x', which is not there"),
    "twice": (PUBLIC + RULES + RULES, "two rules are called 'all'"),
    "unknown": (PUBLIC + RULES + "color = 1\n", "rules.0.color: Extra inputs are not permitted"),
    "type": ('[channels.w]\ntype = "pigeon"\n' + RULES, "'webhook', 'mail', 'command', 'apprise'"),
    "mail host": (MAIL.replace("localhost", "a:hunter2@localhost") + RULES, "is a host alone"),
    "mail password": (MAIL + 'password = "hunter2"\n' + RULES, "password"),
    "mail without tls": (MAIL + LOGIN + 'security = "none"\n' + RULES, "a password is not sent without TLS"),
    "mail header": (MAIL.replace("a@b", "a@b\\nBcc: x") + RULES, "sender"),
    "program": ('[channels.c]\ntype = "command"\ncommand = ["/no/such"]\n' + RULES, "is no program that can be run"),
    "shell": ('[channels.c]\ntype = "command"\ncommand = "echo hi"\n' + RULES, "command: Input should be a valid list"),
}


@pytest.mark.parametrize("fault", WRONG)
def test_a_wrong_file_is_one_line_that_names_it(fault: str, tmp_path: Path) -> None:
    text, said = WRONG[fault]
    (tmp_path / "open").write_text(SECRET)
    (tmp_path / "open").chmod(0o644)
    with pytest.raises(UsageError) as refused:
        settings(tmp_path, text)
    line = str(refused.value)
    assert line.startswith(f"PROMETHEUS_ALERTS_FILE: {tmp_path / 'alerts.toml'}")
    assert said in line
    assert "hunter2" not in line
    assert line == printable(line)


def test_without_apprise_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(UsageError, match=r"pip install 'prometheus-regime\[alerts\]'"):
        settings(tmp_path, f'[channels.s]\ntype = "apprise"\naddress = {{file = "key"}}\n{RULES}')


@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")  # by Apprise, on Python before 3.13
def test_a_service_takes_an_alert_through_apprise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with receiving() as receiver:
        receiver.is_lenient = True
        monkeypatch.setenv("SERVICE", f"json://127.0.0.1:{receiver.port}/x")
        found = settings(tmp_path, f'[channels.s]\ntype = "apprise"\naddress = {{variable = "SERVICE"}}\n{RULES}')
        assert found.channels["s"].deliver(MESSAGE) == Outcome(True, "taken by the service", 1)
        assert receiver.n_requests == 1
