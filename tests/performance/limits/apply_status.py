"""Limit of C1 and C2: a bare client that writes one condition into the status of ScheduledJobs, and reads, checks and keeps nothing.

`apply_status.py KUBECONFIG NAMESPACE watch` writes it for every object that a watch shows, one after the other, until it is killed.
`apply_status.py KUBECONFIG NAMESPACE all` lists the namespace and writes it for each object, 16 in flight, and prints the seconds.
"""

import asyncio
import json
import ssl
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import httpx2
import yaml

IN_FLIGHT = 16


def client(kubeconfig: str) -> httpx2.AsyncClient:
    """One for the server and the token of a kubeconfig."""
    config = yaml.safe_load(Path(kubeconfig).read_text(encoding="utf-8"))
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    trust = ssl.create_default_context(cafile=cluster["certificate-authority"])
    headers = {"Authorization": f"Bearer {user['token']}"}
    return httpx2.AsyncClient(base_url=cluster["server"], verify=trust, headers=headers, trust_env=False, timeout=None)


async def write(http: httpx2.AsyncClient, path: str, name: str) -> None:
    """Server-side apply; the message is another each time, or nothing would be written."""
    now = datetime.now(UTC)
    ready = {
        "type": "Ready",
        "status": "True",
        "reason": "Accepted",
        "message": now.isoformat(),
        "lastTransitionTime": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    body = {
        "apiVersion": "jobwarden.dev/v1alpha1",
        "kind": "ScheduledJob",
        "metadata": {"name": name},
        "status": {"conditions": [ready]},
    }
    answer = await http.patch(
        f"{path}/{name}/status",
        params={"fieldManager": "limit", "force": "true"},
        content=json.dumps(body),
        headers={"Content-Type": "application/apply-patch+yaml"},
    )
    answer.raise_for_status()


async def watch(http: httpx2.AsyncClient, path: str) -> None:
    """For ever."""
    async with http.stream("GET", path, params={"watch": "true"}) as response:
        print("watching", flush=True)
        async for line in response.aiter_lines():
            event = json.loads(line)
            if event["type"] == "ADDED":
                await write(http, path, event["object"]["metadata"]["name"])


async def everything(http: httpx2.AsyncClient, path: str) -> None:
    """Print how long it took."""
    begun = time.perf_counter()
    listed = (await http.get(path)).json()["items"]
    room = asyncio.Semaphore(IN_FLIGHT)

    async def one(name: str) -> None:
        async with room:
            await write(http, path, name)

    await asyncio.gather(*(one(item["metadata"]["name"]) for item in listed))
    print(json.dumps({"value": time.perf_counter() - begun, "objects": len(listed)}))


async def main(kubeconfig: str, namespace: str, what: str) -> None:
    """Do what was asked."""
    path = f"/apis/jobwarden.dev/v1alpha1/namespaces/{namespace}/scheduledjobs"
    async with client(kubeconfig) as http:
        await (watch if what == "watch" else everything)(http, path)


asyncio.run(main(*sys.argv[1:]))
