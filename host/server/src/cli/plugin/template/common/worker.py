"""The work of {{service}}: a directive comes in as JSON on standard input, its result goes out as JSON."""
import json
import os
import pathlib
import sys
from urllib.parse import urlsplit
from urllib.request import url2pathname

directive = json.load(sys.stdin)
level = directive["payload"]["level"]
source = directive["input_ref"]
uri = source if isinstance(source, str) else source["uri"]

text = f"{{id}} at level {level} of {uri}\n"
artifact = pathlib.Path(os.environ["LUCIUS_WORKSPACE_DIR"]) / "{{id}}.txt"
artifact.write_text(text)
output = pathlib.Path(url2pathname(urlsplit(directive["output_ref"]).path)) / f"{directive['jobId']}.txt"
output.parent.mkdir(parents=True, exist_ok=True)
output.write_text(text)

made = {"uri": artifact.as_uri(), "content_type": "text/plain", "size_bytes": len(text)}
print(json.dumps({"status": "SUCCEEDED", "artifact_refs": [made], "output_ref": output.as_uri()}))
