"""The service platform-redact: a directive comes in as JSON on standard input, its result goes out as JSON."""
import json, os, pathlib, re, sys
from urllib.parse import urlsplit
from urllib.request import url2pathname

PATTERNS = {
    "EMAIL": r"[\w.+-]+@[\w-]+\.[\w.-]*\w",
    "IBAN": r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){3,7}\b",
    "PHONE": r"\+?\d[\d ()/-]{6,}\d",
}
directive = json.load(sys.stdin)
local = lambda ref: pathlib.Path(url2pathname(urlsplit(ref if isinstance(ref, str) else ref["uri"]).path))
text = local(directive["input_ref"]).read_text()
for category in directive["payload"]["categories"]:
    text = re.sub(PATTERNS[category], directive["payload"]["replacement"], text)
artifact = pathlib.Path(os.environ["LUCIUS_WORKSPACE_DIR"]) / "redacted.txt"
output = local(directive["output_ref"]) / f"{directive['jobId']}.txt"
output.parent.mkdir(parents=True, exist_ok=True)
for file in (artifact, output):
    file.write_text(text)
made = {"uri": artifact.as_uri(), "content_type": "text/plain", "metadata": {"characters": len(text)}}
print(json.dumps({"status": "SUCCEEDED", "artifact_refs": [made], "output_ref": output.as_uri()}))
