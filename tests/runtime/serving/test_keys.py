"""The file of keys: made, shown, expired, revoked; and that it never holds one."""

import stat

import pytest
from keepworld_runtime import keys as command
from keepworld_runtime.serving.keys import Allowance, KeyFile, KeyRefusedError, Scope


class Clock:
    """Seconds since 1970, as a test says."""

    def __init__(self) -> None:
        self.now_s = 1e9

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def keys(tmp_path, clock):
    file = KeyFile(tmp_path / "keys", clock=clock, make=True)
    yield file
    file.close()


def make(keys, **options):
    return keys.create("acme", [Scope.STREAM], Allowance(), **options)


def cause(keys, shown) -> str:
    with pytest.raises(KeyRefusedError) as refusal:
        keys.recognise(shown)
    assert shown not in refusal.value.message or not shown
    return refusal.value.facts["cause"]


def test_a_key_is_known_by_what_its_maker_was_shown(keys):
    allowance = Allowance(max_sessions=2, max_session_s=60.0, draw_s=1.5, upload_bytes=1000)
    key, shown = keys.create("acme", [Scope.STREAM, Scope.EXPORT], allowance, lasts_s=10.0)
    assert keys.recognise(shown) == key == keys.get(key.id)
    assert key.allowance == allowance and key.expires_s == 1e9 + 10.0
    assert key.has(Scope.EXPORT) and not key.has(Scope.ADMIN)


def test_an_admin_may_do_everything(keys):
    key, _ = keys.create("acme", [Scope.ADMIN], Allowance())
    assert all(key.has(scope) for scope in Scope)


def test_the_file_is_its_owners_alone_and_holds_no_secret(keys, tmp_path):
    _, shown = make(keys)
    keys.close()
    for path in tmp_path.iterdir():
        assert shown.split("_", 2)[2].encode() not in path.read_bytes()
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0


def test_two_keys_share_nothing_that_could_be_guessed(keys):
    secrets = {make(keys)[1].split("_", 2)[2] for _ in range(20)}
    assert len(secrets) == 20 and min(map(len, secrets)) >= 43  # 256 bits in base64


def test_a_key_of_which_anything_is_changed_is_refused(keys):
    _, shown = make(keys)
    for i in range(len(shown)):
        other = "A" if shown[i] != "A" else "B"
        assert cause(keys, shown[:i] + other + shown[i + 1 :]) == "unknown"
    for wrong in (
        "",
        "kw",
        "kw__",
        shown[:-1],
        shown + "A",
        shown.upper(),
        "x" * 10_000,
        "kw_\0_\0",
        "'; DROP TABLE keys",
    ):
        assert cause(keys, wrong) == "unknown"
    assert keys.recognise(shown)


def test_a_key_is_good_until_the_second_it_expires(keys, clock):
    _, shown = make(keys, lasts_s=60.0)
    clock.now_s += 59.9
    assert keys.recognise(shown)
    clock.now_s += 0.1
    assert cause(keys, shown) == "expired"


def test_what_one_process_revokes_another_refuses_at_once(keys, tmp_path, clock):
    key, shown = make(keys)
    elsewhere = KeyFile(tmp_path / "keys", clock=clock)
    clock.now_s += 5
    assert elsewhere.revoke(key.id).revoked_s == clock.now_s
    assert cause(keys, shown) == "revoked"
    clock.now_s += 5
    assert elsewhere.revoke(key.id).revoked_s == clock.now_s - 5  # when it was revoked first
    elsewhere.close()


@pytest.mark.parametrize(
    "content", [None, b"", b"not a database, but long enough to look like a file of something" * 20]
)
def test_a_server_takes_only_a_file_that_was_made_for_it(tmp_path, content):
    path = tmp_path / "keys"
    if content is not None:
        path.write_bytes(content)
    if content == b"":
        assert KeyFile(path).list() == []  # an empty file is an empty database
        return
    with pytest.raises(ValueError, match="keepworld keys create") as refusal:
        KeyFile(path)
    assert str(tmp_path) not in str(refusal.value)


@pytest.mark.parametrize(
    ("tenant", "scopes", "lasts_s"),
    [
        ("", ["stream"], None),
        ("x" * 65, ["stream"], None),
        ("a\nb", ["stream"], None),
        ("a", [], None),
        ("a", ["stream"], 0),
    ],
)
def test_a_key_of_nothing_is_not_made(keys, tenant, scopes, lasts_s):
    with pytest.raises(ValueError):
        keys.create(tenant, [Scope(name) for name in scopes], Allowance(), lasts_s=lasts_s)
    assert keys.list() == []


@pytest.mark.parametrize("name", ["max_sessions", "max_session_s", "draw_s", "upload_bytes"])
def test_an_allowance_of_nothing_is_a_slip(name):
    with pytest.raises(ValueError, match=name):
        Allowance(**{name: 0})


def test_the_command_makes_lists_and_revokes(tmp_path, capsys):
    file = ["--keys", str(tmp_path / "keys")]
    limits = ["--max-sessions", "2", "--draw-s", "60", "--upload-mb", "1.5", "--session-s", "30"]
    assert command.main(["create", *file, "--tenant", "acme", "--scope", "stream", "--days", "1", *limits]) == 0
    shown = capsys.readouterr().out.strip()
    keys = KeyFile(tmp_path / "keys")
    key = keys.recognise(shown)
    assert key.allowance == Allowance(max_sessions=2, draw_s=60.0, upload_bytes=1_500_000, max_session_s=30.0)
    assert key.expires_s == pytest.approx(key.created_s + 86_400)
    assert command.main(["list", *file]) == 0
    listed = capsys.readouterr().out
    assert key.id in listed and "acme" in listed and shown.split("_", 2)[2] not in listed
    assert command.main(["revoke", *file, key.id]) == 0
    assert cause(keys, shown) == "revoked"
    assert "revoked" in capsys.readouterr().out
    assert command.main(["revoke", *file, "nothing"]) == 1
    assert command.main(["list", "--keys", str(tmp_path / "elsewhere")]) == 1
    assert not (tmp_path / "elsewhere").exists()
    keys.close()
