#!/usr/bin/env python3
"""Judges what look.py said of a page. usage: judge.py clean|dirty JSON [TEXT that must be seen]"""

import json
import sys


def faults(said, text):
    looks = said["looks"]
    yield from (f"asks for {url}" for url in said["requests"])
    yield from (f"the console says: {error}" for error in said["errors"])
    for name in ("scripts", "images"):
        if said[name]:
            yield f"has {said[name]} {name}"
    for name, look in looks.items():
        if look["overflow"] > 0:
            yield f"{name}: is {look['overflow']} pixels wider than its window"
    if looks["light"]["background"] == looks["dark"]["background"]:
        yield "is as bright in the dark as in the light"
    if looks["print"]["background"] != "rgb(255, 255, 255)":
        yield "is printed on a coloured ground"
    if text and text not in said["text"]:
        yield f"does not show the text {text}"


def main():
    wanted, said = sys.argv[1], json.loads(sys.argv[2])
    found = list(faults(said, sys.argv[3] if len(sys.argv) > 3 else None))
    if wanted == "dirty":
        # Without this, nothing found would prove nothing.
        seen = said["requests"] and said["errors"] and said["scripts"] and said["images"]
        print(f"a page that asks and complains is found out: {len(found)} faults" if seen else f"overlooked: {found}")
        sys.exit(not seen)
    for one in found:
        print(f"the page {one}")
    if not found:
        print(f"0 requests, 0 errors, 0 scripts; {', '.join(said['looks'])}: no wider than the window")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
