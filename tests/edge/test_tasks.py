"""Tasks cross within an era, for whoever made them and nobody else."""

import pytest

from tests.edge.conftest import Running
from tests.edge.replies import Json
from tests.edge.world import PREFIX, tool
from tests.schema import validator

TOOLS: Json = {
    "legacy": tool("legacy"),
    "modern": tool("modern"),
    "legacy-l": tool("legacy", mode="launcher"),
    "legacy-r": tool("legacy", mode="launcher", launcher={"per": "request"}),
    "modern-l": tool("modern", mode="launcher"),
}
LEGACY = ("legacy", "legacy-l", "legacy-r")
EXTENSION: Json = {PREFIX + "tasks": {}}
WORK: Json = {"name": "work", "arguments": {}}
TASKED: Json = {**WORK, "task": {"ttl": 60000}}


@pytest.mark.parametrize("name", LEGACY)
async def test_a_legacy_task_from_beginning_to_end(running: Running, name: str) -> None:
    async with running(TOOLS) as world:
        client, other = await world.legacy(name), await world.legacy(name)
        assert "tasks" in client.introduction["capabilities"]
        async with client.listening() as events, other.listening() as others:
            made = (await client.request("tools/call", TASKED)).answer["result"]
            validator("2025-11-25", "CreateTaskResult").validate(made)
            task: Json = {"taskId": made["task"]["taskId"]}
            assert (await client.request("tasks/get", task)).result["status"] == "working"
            listed = (await client.request("tasks/list")).result
            validator("2025-11-25", "ListTasksResult").validate(listed)
            assert [one["taskId"] for one in listed["tasks"]] == [task["taskId"]]
            assert (await other.request("tasks/list")).result["tasks"] == []
            if name == "legacy-l":  # elsewhere the task keeps its instance to itself
                await client.call("finish", **task)
                told = await events.message()
                assert told["method"] == "notifications/tasks/status"
            result = (await client.request("tasks/result", task)).result
            assert result["content"][0]["text"] == "done later"
            assert result["_meta"][PREFIX + "related-task"] == task
            if name != "legacy-r":
                await other.call("change", list="tools")
                assert (await others.message())["method"] == "notifications/tools/list_changed"


@pytest.mark.spec("CL9")
@pytest.mark.parametrize("name", LEGACY)
async def test_a_legacy_task_is_nobody_elses(running: Running, name: str) -> None:
    async with running(TOOLS) as world:
        client, other = await world.legacy(name), await world.legacy(name)
        made = (await client.request("tools/call", TASKED)).answer["result"]
        task = {"taskId": made["task"]["taskId"]}
        for method in ("tasks/get", "tasks/result", "tasks/cancel"):
            refused = await other.request(method, task)
            assert "error" in refused.answer
        assert (await client.request("tasks/cancel", task)).result["status"] == "cancelled"


@pytest.mark.spec("N28")
@pytest.mark.parametrize("name", ["modern", "modern-l"])
async def test_a_modern_task_from_beginning_to_end(running: Running, name: str) -> None:
    async with running(TOOLS) as world:
        client = world.modern(name, extensions=EXTENSION)
        found = (await client.request("server/discover")).result["capabilities"]
        assert found["extensions"] == EXTENSION
        made = (await client.request("tools/call", WORK)).answer["result"]
        assert made["resultType"] == "task"
        task: Json = {"taskId": made["taskId"]}
        assert (await client.request("tasks/get", task)).answer["result"]["status"] == "working"
        if name == "modern":
            await client.call("finish", **task)
            ended = (await client.request("tasks/get", task)).answer["result"]
            assert ended["result"]["content"][0]["text"] == "done later"
        cancelled = (await client.request("tasks/cancel", task)).answer["result"]
        assert cancelled["status"] == "cancelled"
        unknown = await client.request("tasks/get", {"taskId": "nobody's"})
        assert unknown.error["code"] == -32602
        wrong = await client.request("tasks/get", task, headers={"Mcp-Name": "other"})
        assert (wrong.status, wrong.error["code"]) == (400, -32020)


@pytest.mark.spec("N28")
async def test_no_task_where_none_was_asked_for_or_across_eras(running: Running) -> None:
    async with running(TOOLS) as world:
        for name in ("modern", "legacy"):
            assert (await world.modern(name).call("work")).text == "done at once"
            assert (await world.modern("legacy", extensions=EXTENSION).call("work")).text
            old = await world.legacy(name, "2025-06-18")
            assert "tasks" not in old.introduction["capabilities"]
            assert (await old.request("tools/call", TASKED)).text == "done at once"
            assert (await old.request("tasks/list")).error["code"] == -32601
            unknown = await world.modern("legacy").request("tasks/get", {"taskId": "x"})
            assert (unknown.status, unknown.error["code"]) == (404, -32601)
        newer = await world.legacy("modern")
        assert (await newer.request("tools/call", TASKED)).text == "done at once"
        found = (await world.modern("legacy").request("server/discover")).result["capabilities"]
        assert "tasks" not in found and "extensions" not in found


async def test_the_end_of_an_instance_is_the_end_of_its_tasks(running: Running) -> None:
    async with running({"legacy": tool("legacy", daemon={"max": 1})}) as world:
        client = await world.legacy("legacy")
        made = (await client.request("tools/call", TASKED)).answer["result"]
        task = {"taskId": made["task"]["taskId"]}
        assert "error" in (await client.call("die")).answer
        assert (await client.request("tasks/get", task)).error["code"] == -31020
        assert (await client.request("tasks/get", task)).error["code"] == -32602
