"""`elfbench doctor`."""

from __future__ import annotations

from elfbench.cli.output import Json, key_values, print_json, print_table, stdout


def command(json: Json = False) -> None:
    """What is installed, which device, which assets are present, where caches lie, and what to type for what is missing.

    Example:  elfbench doctor
    """
    from elfbench.running.doctor import diagnosis

    found = diagnosis()
    if json:
        print_json(found)
        return
    key_values(
        {
            "elfbench": found["elfbench"],
            "python": found["python"],
            "platform": found["platform"],
            "device": found["device"],
            "cache": found["cache"],
        }
    )
    stdout.print()
    print_table(
        ["", "needed for", "found", "type this"],
        [[item["name"], item["for"], item["found"] or "missing", item["remedy"]] for item in found["items"]],
    )
