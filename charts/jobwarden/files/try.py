"""`helm test`: asks for a job that never runs by itself, and waits until the controller says that it has it."""

import json
import os
import ssl
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
SECONDS = 60
NAMESPACE, NAME = sys.argv[1:]
JOB = {
    "apiVersion": "jobwarden.dev/v1alpha1",
    "kind": "ScheduledJob",
    "metadata": {"name": NAME},
    "spec": {"description": "Made by helm test.", "shell": {"script": "true"}},
}


def ask(method, path="", body=None):
    host = "{KUBERNETES_SERVICE_HOST}:{KUBERNETES_SERVICE_PORT}".format_map(os.environ)
    request = urllib.request.Request(
        f"https://{host}/apis/jobwarden.dev/v1alpha1/namespaces/{NAMESPACE}/scheduledjobs{path}",
        method=method,
        data=json.dumps(body).encode() if body else None,
        headers={
            "Authorization": f"Bearer {(ACCOUNT / 'token').read_text()}",
            "Content-Type": "application/json",
        },
    )
    context = ssl.create_default_context(cafile=ACCOUNT / "ca.crt")
    try:
        with urllib.request.urlopen(request, context=context, timeout=10) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        if method == "DELETE" and error.code == 404:
            return None
        sys.exit(f"the API server refused {method} {request.selector}: {error.read().decode()}")


def remove():
    ask("DELETE", f"/{NAME}")


def main():
    remove()
    ask("POST", body=JOB)
    conditions = []
    try:
        for _ in range(SECONDS):
            conditions = ask("GET", f"/{NAME}").get("status", {}).get("conditions", [])
            if any(one["type"] == "Ready" and one["status"] == "True" for one in conditions):
                print(f"the controller has taken the ScheduledJob {NAMESPACE}/{NAME}")
                return 0
            time.sleep(1)
    finally:
        remove()
    print(f"the ScheduledJob {NAMESPACE}/{NAME} was not Ready after {SECONDS} s: {json.dumps(conditions)}")
    print("look at the controller's log, and whether it watches this namespace (watch.namespaces)")
    return 1


sys.exit(main())
