"""Settings: a file, overridden by the command line; what is unknown or makes no sense is an error."""

from pathlib import Path

import pytest
from keepworld_runtime import config
from keepworld_runtime.config import ServerConfig, TlsFiles
from keepworld_runtime.engine.group import Patience
from keepworld_runtime.families import Chosen
from keepworld_runtime.families.family import FamilyOptions


def test_the_command_line_wins_over_the_file(tmp_path):
    path = tmp_path / "server.toml"
    path.write_text('port = 1234\nmax_sessions = 3\nfamilies = ["diorama"]\n[patience]\nsilence_s = 4.0\n')
    settings = config.read(path, {"port": 0})
    assert (settings.port, settings.max_sessions, settings.families) == (0, 3, ("diorama",))
    assert settings.patience.silence_s == 4.0
    assert settings.patience.load_s == 1800.0


@pytest.mark.parametrize(
    "text",
    [
        "prot = 1",
        "[patience]\nsilense_s = 1.0",
        "[patience]\nwarm_s = 0.0",
        "patience = 1",
        "[options]\ndtype = 'int3'",
        "port =",
    ],
)
def test_a_file_with_a_slip_is_refused(tmp_path, text):
    path = tmp_path / "server.toml"
    path.write_text(text)
    with pytest.raises(ValueError):
        config.read(path, {})


@pytest.mark.parametrize(
    "settings",
    [
        {"host": "0.0.0.0"},
        {"host": "example.org"},
        {"port": -1},
        {"port": 65536},
        {"families": ()},
        {"families": ("nothing",)},
        {"threads": -1},
        {"idle_s": 0.0},
        {"log_level": "loud"},
        {"ranks": 0},
        {"ranks": 2, "families": ("diorama",)},
    ],
)
def test_settings_that_make_no_sense_are_refused(settings):
    with pytest.raises(ValueError):
        ServerConfig(**settings)


def test_who_may_call_can_be_said_in_the_file(tmp_path):
    path = tmp_path / "server.toml"
    path.write_text('host = "0.0.0.0"\nkeys = "server.keys"\n[tls]\ncert = "a.pem"\nkey = "a.key"\n')
    settings = config.read(path, {"tls.client_ca": Path("ca.pem")})
    assert settings.keys == Path("server.keys")
    assert settings.tls == TlsFiles(cert=Path("a.pem"), key=Path("a.key"), client_ca=Path("ca.pem"))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "[::1]"])
def test_this_machine_needs_no_leave(host):
    assert ServerConfig(host=host).host == host


def test_a_family_from_elsewhere_is_named_with_its_module():
    assert ServerConfig(families=("diorama", "mine=my.module")).chosen == {
        "diorama": Chosen(module="keepworld_runtime.families.diorama"),
        "mine": Chosen(module="my.module"),
    }


def test_options_go_to_the_one_family_that_takes_them(tmp_path):
    path = tmp_path / "server.toml"
    path.write_text(
        'families = ["diorama", "mine=my.module"]\n[options]\ncheckpoint = "weights"\nkernels = ["a", "b"]\n'
    )
    settings = config.read(path, {"options.device": "cuda", "patience.warm_s": 5.0})
    options = FamilyOptions(checkpoint=Path("weights"), kernels=("a", "b"), device="cuda")
    assert settings.chosen["mine"].options == options
    assert settings.chosen["diorama"].options == FamilyOptions()
    assert settings.patience == Patience(warm_s=5.0)


def test_options_that_two_families_take_are_refused():
    with pytest.raises(ValueError, match="one or two"):
        ServerConfig(families=("one=a", "two=b"), options=FamilyOptions(device="cuda"))
