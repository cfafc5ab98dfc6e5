"""``keepworld models``: the world families of a server, and the learned models that one can be run with."""

from __future__ import annotations

import math
import textwrap
from dataclasses import asdict

from keepworld.cli import OK, USAGE, add_url_argument, command_parser, print_json
from keepworld.cli.forward import become
from keepworld.client import FamilyCapabilities
from keepworld.sync import Client

FORWARDED = ("list", "pull", "verify", "plan", "path")
EXAMPLES = """\
  keepworld models                 a line for each family of the server
  keepworld models diorama         sizes, axes, and all the words its prompts and events know
  keepworld models show diorama    the same

learned models, for a server of your own (each has a --help):
  keepworld models list            what there is: files, sizes, licences
  keepworld models plan NAME       memory and expected speed, before anything is loaded
  keepworld models pull NAME --to DIR
  keepworld models verify DIR
  keepworld models path "w-16, right-8" --out path.json     a published motion string as a path of cameras
"""


def main(arguments: list[str]) -> int:
    """List the families, or describe one; or hand over to ``python -m keepworld_runtime.models``."""
    if arguments and arguments[0] in FORWARDED:
        become("keepworld_runtime.models", arguments, extra="runtime")
    parser = command_parser(
        "models", "What the server's world families can do, and the words they know.", examples=EXAMPLES
    )
    parser.add_argument("name", nargs="?", help="describe this one in full")
    parser.add_argument("--json", action="store_true", help="print everything as one JSON object")
    add_url_argument(parser)
    options = parser.parse_args(arguments[1:] if arguments[:1] == ["show"] else arguments)
    with Client(options.url) as client:
        families = {family.name: family for family in client.capabilities().families}
    if options.name is not None and options.name not in families:
        print(f"no family {options.name!r}; there are: {', '.join(families)}")
        return USAGE
    chosen = list(families.values()) if options.name is None else [families[options.name]]
    if options.json:
        print_json([asdict(family) for family in chosen])
    elif options.name is None:
        for family in chosen:
            print(f"{family.name} {family.version}  {family.summary}")
        print("\nlearned models for a server of your own: keepworld models list")
    else:
        describe(chosen[0])
    return OK


def describe(family: FamilyCapabilities) -> None:
    """Print all there is to know of a family."""
    print(f"{family.name} {family.version}: {family.summary}\n")
    print(f"licence   {family.licence}")
    print(f"units     {family.units}; poses are {family.pose_source}; depth: {'yes' if family.has_depth else 'no'}")
    begins = [what for what, taken in (("a picture", family.takes_image), ("given frames", family.takes_clip)) if taken]
    print(f"begins    with {' or '.join(('words', *begins))}")
    from_what = [f"given frames, {family.min_clip_frames} or more"] if family.takes_clip else []
    from_what += ["captures of the same world"] if family.takes_recording else []
    if from_what:
        print(f"goes on   from {' or '.join(from_what)}, in the middle of a walk too")
    print(
        f"sizes     {', '.join(f'{width}x{height}' for width, height in family.sizes)}; multiples of {family.size_multiple}"
    )
    print(
        f"speed     {family.move_rate:g} units/s, {math.degrees(family.turn_rate):g} degrees/s; {family.fps:g} frames/s"
    )
    for mode, axes in family.modes.items():
        print(f"mode      {mode}: {', '.join(axes)}")
    for title, words in (("prompts", family.prompt_words), ("events", family.event_phrases)):
        print(f"\n{title}" if words else f"\n{title}   any words")
        for heading, known in words.items():
            print(textwrap.fill(f"  {heading}: {', '.join(known)}", width=110, subsequent_indent=" " * 4))
