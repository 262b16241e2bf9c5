"""Reads URLs with requests, which takes HTTPS_PROXY and REQUESTS_CA_BUNDLE from the environment, and prints one
JSON line for each: forward_scenario.py AUTHORIZATION URL..."""

import json
import sys

import requests

session = requests.Session()
session.headers["Authorization"] = sys.argv[1]
for url in sys.argv[2:]:
    try:
        answer = session.get(url, timeout=60)
    except requests.RequestException as error:
        print(json.dumps({"url": url, "error": str(error)}))
    else:
        cache = answer.headers.get("Cache-Status", "")
        print(json.dumps({"url": url, "status": answer.status_code, "cache": cache, "body": answer.text}))
