"""`keepworld keys`: make, list and revoke the keys that callers of a server show; the server need not be stopped."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from keepworld_runtime.serving.keys import Allowance, Key, KeyFile, Scope

_DAY_S = 86_400.0
_MEGABYTE = 1_000_000
_EXAMPLES = """\
examples:
  keepworld keys create --keys server.keys --tenant acme            prints the key, once: it is kept nowhere
  keepworld keys create --keys server.keys --tenant guest --days 7 --max-sessions 1 --session-s 600
  keepworld keys list --keys server.keys
  keepworld keys revoke --keys server.keys 0a1b2c3d4e5f             calls that it makes now end within a second

  keepworld serve --keys server.keys                                a server that takes only these
  KEEPWORLD_API_KEY=kw_… keepworld capture …                        how a caller shows one
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; gives the exit code: 0 done, 1 failed, 2 not understood."""
    options = _parser().parse_args(arguments)
    try:
        keys = KeyFile(options.keys, make=options.command == "create")
        try:
            for line in _COMMANDS[options.command](keys, options):
                print(line)
        finally:
            keys.close()
    except ValueError as error:
        print(f"keepworld keys: {error}", file=sys.stderr)
        return 1
    return 0


def _create(keys: KeyFile, options: argparse.Namespace) -> list[str]:
    allowance = Allowance(
        max_sessions=options.max_sessions,
        max_session_s=options.session_s,
        draw_s=options.draw_s,
        upload_bytes=None if options.upload_mb is None else round(options.upload_mb * _MEGABYTE),
        exports=options.exports,
    )
    lasts_s = None if options.days is None else options.days * _DAY_S
    _, shown = keys.create(options.tenant, options.scopes or (Scope.STREAM, Scope.EXPORT), allowance, lasts_s=lasts_s)
    return [shown]


def _list(keys: KeyFile, options: argparse.Namespace) -> list[str]:
    return [_line(key, keys.clock()) for key in keys.list()]


def _revoke(keys: KeyFile, options: argparse.Namespace) -> list[str]:
    return [_line(keys.revoke(options.id), keys.clock())]


_COMMANDS = {"create": _create, "list": _list, "revoke": _revoke}


def _line(key: Key, now_s: float) -> str:
    """A key in one line: id, tenant, scopes, state, and what it may use."""
    if key.revoked_s is not None:
        state = f"revoked {_date(key.revoked_s)}"
    elif key.expires_s is None:
        state = "good"
    else:
        state = f"{'good until' if now_s < key.expires_s else 'expired'} {_date(key.expires_s)}"
    allowance = key.allowance
    allowed = (
        ("sessions", allowance.max_sessions),
        ("s/session", allowance.max_session_s),
        ("s drawing/day", allowance.draw_s),
        ("bytes up/day", allowance.upload_bytes),
        ("exports/day", allowance.exports),
    )
    limits = ", ".join(f"{value:g} {unit}" for unit, value in allowed if value is not None)
    return f"{key.id}  {key.tenant}  {','.join(sorted(key.scopes))}  {state}" + (f"  {limits}" if limits else "")


def _date(time_s: float) -> str:
    return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="keepworld keys",
        description="Make, list and revoke the keys that callers of a server show.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="create | list | revoke")
    create = commands.add_parser("create", help="make a key and print it, once")
    create.add_argument("--tenant", required=True, help="whose it is; tenants do not see each other's worlds")
    create.add_argument(
        "--scope", dest="scopes", action="append", type=Scope, choices=list(Scope),
        help="what it is good for; may be given several times (stream and export)",
    )  # fmt: skip
    create.add_argument("--days", type=float, help="how long it is good (for ever)")
    create.add_argument("--max-sessions", type=int, help="sessions at once (as many as the server holds)")
    create.add_argument("--session-s", type=float, help="seconds after which a session is ended (never)")
    create.add_argument("--draw-s", type=float, help="seconds of drawing a day (no limit)")
    create.add_argument("--upload-mb", type=float, help="megabytes uploaded a day (no limit)")
    create.add_argument("--exports", type=int, help="exports begun a day (no limit)")
    listing = commands.add_parser("list", help="every key there has been, without its secret")
    revoke = commands.add_parser("revoke", help="make a key worthless from now on")
    revoke.add_argument("id", help="as `list` prints it")
    for command in (create, listing, revoke):
        command.add_argument("--keys", type=Path, required=True, metavar="FILE", help="the file that the server reads")
    return parser


if __name__ == "__main__":
    sys.exit(main())
