"""The cell of ci/grid has the properties that other tests rely on.

These tests make cells of their own and leave any other cell of the machine alone.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.waiting import wait_until

pytestmark = pytest.mark.cell

CI_GRID = Path(__file__).parents[2] / "ci" / "grid"
FIRST, SECOND = "dgt1", "dgt2"
HOSTS = ("gridmaster", "node1", "node2")
Finished = subprocess.CompletedProcess[str]


def grid(*arguments: str, name: str = FIRST, stdin: str = "") -> Finished:
    """Run ci/grid for one of our cells."""
    return subprocess.run(
        [CI_GRID, *arguments],
        env=environment(name),
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )


def environment(name: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("SGE_", "GRID_"))}
    return kept | {"GRID_NAME": name}


def done(*arguments: str, name: str = FIRST) -> str:
    """Run ci/grid, which must succeed; return what it prints."""
    finished = grid(*arguments, name=name)
    assert finished.returncode == 0, finished
    return finished.stdout.strip()


@pytest.fixture(scope="module", autouse=True)
def no_cell_is_left() -> Iterator[None]:
    """Take the cells down after the tests."""
    yield
    done("down", name=FIRST)
    done("down", name=SECOND)


@pytest.fixture
def cell() -> Path:
    """A healthy cell of two nodes; its directory."""
    finished = grid("up", "2", "4")
    if finished.returncode == 77:
        pytest.skip(finished.stderr)
    assert finished.returncode == 0, finished
    return Path(done("run", "gridmaster", "printenv", "SGE_ROOT")).parent


def submit(*arguments: str, user: str = "root") -> str:
    """Submit a job as a user; its id."""
    command = ("gridmaster", "qsub", "-terse", "-wd", "/tmp", "-j", "y", *arguments)
    return done("as", user, *command).partition(".")[0]


def jobs() -> dict[str, str]:
    """State of each job, by id."""
    lines = done("run", "gridmaster", "qstat", "-u", "*").splitlines()[2:]
    return {line.split()[0]: line.split()[4] for line in lines}


def delete(*ids: str) -> None:
    done("run", "gridmaster", "qdel", *ids)
    wait_until(lambda: not jobs().keys() & set(ids), "the jobs gone", 20, jobs)


def traces() -> dict[str, list[str]]:
    """Return everything on this machine that has the name of one of the cells."""

    def printed(*command: str) -> list[str]:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return done.stdout.splitlines()

    found = {
        "namespaces": printed("ip", "netns"),
        "mounts": Path("/proc/mounts").read_text().splitlines(),
        "files": [str(path) for path in Path("/var/tmp").glob("*/*")]
        + os.listdir("/run"),
        "processes": [
            f"{process.pid} {process.info['cmdline']} {process.info['environ']}"
            for process in psutil.process_iter(["cmdline", "environ"])
            if process.pid != os.getpid()
        ],
    }
    found = {
        kind: [line for line in lines if any(name in line for name in (FIRST, SECOND))]
        for kind, lines in found.items()
    }
    return found | {
        "interfaces": [x.split("@")[0] for x in printed("ip", "-br", "link")]
    }


def test_up_of_a_healthy_cell_changes_nothing(cell: Path) -> None:
    """A second up of the same shape says so, and every process is still the same."""
    before = [line.split()[0] for line in done("ps").splitlines()]
    assert "up already" in done("up", "2", "4")
    assert [line.split()[0] for line in done("ps").splitlines()] == before


def test_another_shape_is_another_cell() -> None:
    """Up with other numbers makes a new cell."""
    done("up", "1", "3")
    seen = done("run", "gridmaster", "qstat", "-f")
    assert "all.q@node1" in seen
    assert "0/0/3" in seen
    assert "node2" not in seen


def test_two_cells_are_up_at_once(cell: Path) -> None:
    """A second cell has other addresses, and goes without harming the first."""
    done("up", "1", "1", name=SECOND)
    first, second = done("status"), done("status", name=SECOND)
    assert not {*first.split()[1::3]} & {*second.split()[1::3]}
    done("down", name=SECOND)
    assert done("status") == first


@pytest.mark.parametrize("node", HOSTS[1:])
def test_a_job_runs_on_each_node(cell: Path, tmp_path: Path, node: str) -> None:
    """A job on a node has that node's name, and a PATH with the usual directories."""
    out = tmp_path / "out"
    submit("-sync", "y", "-o", str(out), "-l", f"h={node}", "-b", "y", "env")
    variables = dict(line.split("=", 1) for line in out.read_text().splitlines())
    assert variables["HOSTNAME"] == node
    assert {"/usr/local/bin", "/usr/bin", "/bin"} <= {*variables["PATH"].split(":")}
    assert variables["TMP"].startswith(str(cell / "private"))


def test_a_jobs_end_leaves_the_other_nodes_jobs(cell: Path) -> None:
    """Hosts share process ids, yet execd kills no process of another host."""
    sleep = ("-o", "/dev/null", "-b", "y", "sleep", "100")
    one, two = (submit("-l", f"h={n}", *sleep, user="nobody") for n in HOSTS[1:])
    wait_until(lambda: jobs() == {one: "r", two: "r"}, "both run", 20, jobs)
    delete(one)
    assert jobs() == {two: "r"}
    delete(two)


def test_a_cut_node_is_out_of_reach_until_healed(cell: Path) -> None:
    """A cut cable stops TCP to the node and shows in the status; healing mends both."""

    def reaches_node1() -> Finished:
        dial = ("timeout", "1", "bash", "-c", "</dev/tcp/node1/6445")
        return grid("run", "gridmaster", *dial)

    assert reaches_node1().returncode == 0
    done("cut", "node1")
    assert reaches_node1().returncode != 0
    assert "cable cut" in grid("status").stdout
    done("heal", "node1")
    wait_until(
        lambda: reaches_node1().returncode == 0, "node1 in reach", 20, reaches_node1
    )
    assert grid("status").returncode == 0


def reaches(host: str, other: str, port: int = 6445) -> bool:
    """Whether TCP from a host to another one connects within a second."""
    dial = ("timeout", "1", "bash", "-c", f"</dev/tcp/{other}/{port}")
    return grid("run", host, *dial).returncode == 0


def test_a_second_network_joins_all_hosts_until_it_is_removed(cell: Path) -> None:
    """Each host has an address of each kind on eth1; adding it twice adds one."""
    before = done("run", "node1", "ip", "-br", "addr")
    done("add-network")
    assert done("add-network") == ""
    seen = done("run", "node1", "ip", "-br", "addr", "show", "eth1")
    four, six = (word.partition("/")[0] for word in seen.split()[2:4])
    assert reaches("gridmaster", four)
    assert reaches("node2", six, 6445) is False  # execd has no IPv6, so it refuses
    done("cut", "node1")
    assert not reaches("gridmaster", four)
    done("heal", "node1")
    wait_until(lambda: reaches("gridmaster", four), "node1 in reach again", 20)
    done("remove-network")
    assert done("remove-network") == ""
    wait_until(
        lambda: done("run", "node1", "ip", "-br", "addr") == before, "as before", 5
    )
    assert grid("status").returncode == 0


def test_a_firewall_passes_grid_engine_and_given_ports(cell: Path) -> None:
    """Other packets are dropped while it exists; hosts can resolve each other's
    addresses however long that is."""
    listen = "import socket, time; s = socket.create_server(('', 9000)); time.sleep(60)"
    before = done("run", "node1", "ip", "rule")
    with subprocess.Popen(
        [CI_GRID, "run", "node2", "python3", "-c", listen], env=environment(FIRST)
    ) as server:
        try:
            wait_until(lambda: reaches("node1", "node2", 9000), "it listens", 20)
            done("firewall", "8786")
            done("firewall", "8786", "8999-9001")
            assert reaches("node1", "node2", 9000)
            done("firewall")
            for host in HOSTS:
                done("run", host, "ip", "neigh", "flush", "dev", "eth0")
            assert not reaches("node1", "node2", 9000)
            assert reaches("node2", "node2", 9000)
            submit("-sync", "y", "-l", "h=node2", "-o", "/dev/null", "-b", "y", "true")
            done("no-firewall")
            assert reaches("node1", "node2", 9000)
        finally:
            server.kill()
    assert done("run", "node1", "ip", "rule") == before
    assert done("no-firewall") == ""


def test_jobs_outlive_the_master(cell: Path) -> None:
    """Without qmaster nothing answers; with a new one the old job still runs."""
    job = submit("-o", "/dev/null", "-b", "y", "sleep", "100")
    wait_until(lambda: jobs() == {job: "r"}, "the job runs", 20, jobs)
    done("stop-master")
    assert grid("run", "gridmaster", "qstat").returncode != 0
    assert grid("status").returncode == 1
    assert grid("stop-master").returncode == 1
    done("start-master")
    assert jobs() == {job: "r"}
    done("down")  # the nodes would need 30 s to find the new master


def test_a_half_dead_cell_is_replaced(cell: Path) -> None:
    """Up clears away a cell that lost its master and a node, and makes another."""
    done("stop-master")
    subprocess.run(["ip", "netns", "del", f"{FIRST}-node1"], check=True, timeout=10)
    node1 = int((cell / "keepers" / "node1").read_text())
    psutil.Process(node1).kill()
    wait_until(lambda: "gone" in grid("status").stdout, "node1 gone", 10)
    assert "is up:" in done("up", "2", "4")
    assert done("status").count("up") == len(HOSTS)


@pytest.mark.parametrize(
    "stage", ["hosts", "keepers/node1", "sge/default/common/bootstrap"]
)
def test_a_killed_up_leaves_nothing_that_down_overlooks(stage: str) -> None:
    """Down removes everything that a killed up has made."""
    done("down")
    started = subprocess.Popen(
        [CI_GRID, "up"], env=environment(FIRST), stdout=subprocess.DEVNULL
    )
    reached = Path("/var/tmp/dask-gridengine-cell", FIRST, stage)
    wait_until(reached.exists, f"{stage} made", 20)
    started.kill()
    started.wait(10)
    done("down")
    assert not any(found for kind, found in traces().items() if kind != "interfaces")


def test_down_leaves_nothing() -> None:
    """Namespaces, interfaces, mounts, processes and files are as before the up."""
    done("down")
    before = traces()
    done("up", "2", "4")
    done("add-network")
    done("firewall")
    submit("-o", "/dev/null", "-b", "y", "sleep", "100")
    up = traces()
    assert up["interfaces"] == before["interfaces"]
    assert all(up[kind] != before[kind] for kind in up if kind != "interfaces")
    done("down")
    assert traces() == before
    assert "is down" in done("down")


def test_hosts_share_all_but_the_private_directory(cell: Path, tmp_path: Path) -> None:
    """A file in the private directory of a host exists on no other host, nor here."""
    script = f"hostname >$GRID_PRIVATE/file; hostname >>{tmp_path}/file"
    for host in HOSTS:
        done("run", host, "sh", "-c", script)
    for host in HOSTS:
        assert done("run", host, "sh", "-c", "cat $GRID_PRIVATE/file") == host
    assert (tmp_path / "file").read_text().split() == [*HOSTS]
    assert not (cell / "private" / "file").exists()


def test_a_command_is_run_on_another_host(cell: Path, tmp_path: Path) -> None:
    """Its input, its exit status and its working directory are passed on."""
    finished = grid("run", "node2", "sh", "-c", "cat; exit 7", stdin="hello")
    assert (finished.stdout, finished.returncode) == ("hello", 7)
    inside = subprocess.run(
        [CI_GRID, "run", "node1", "pwd"],
        cwd=tmp_path,
        env=environment(FIRST),
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    )
    assert inside.stdout.strip() == str(tmp_path)


def test_another_user_has_nothing_of_root(cell: Path, tmp_path: Path) -> None:
    """A colleague has neither root's groups nor its environment, and may submit."""
    os.environ["SECRET"] = "abc123"
    try:
        seen = done("as", "nobody", "node1", "sh", "-c", "id -un; id -G; env")
    finally:
        del os.environ["SECRET"]
    assert seen.splitlines()[:2] == ["nobody", "65534"]
    assert "abc123" not in seen
    submit("-sync", "y", "-o", "/dev/null", "-b", "y", "true", user="nobody")


def test_env_can_be_sourced(cell: Path) -> None:
    """The lines that env prints are shell, and lead to the cell."""
    shell = f'eval "$({CI_GRID} env)" && echo $SGE_ROOT $SGE_QMASTER_PORT'
    printed = subprocess.run(
        ["sh", "-c", shell],
        env=environment(FIRST),
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    )
    assert printed.stdout.split() == [str(cell / "sge"), "6444"]


@pytest.mark.parametrize(
    "arguments",
    [
        "",
        "nonsense",
        "up 0",
        "up 2 many",
        "up 1 2 3",
        "run node1",
        "cut",
        "down dgt1",
        "firewall all",
        "add-network eth1",
    ],
)
def test_wrong_usage_exits_2(arguments: str) -> None:
    """A mistake in the command changes nothing and points to the help."""
    finished = grid(*arguments.split())
    assert finished.returncode == 2
    assert "ci/grid help" in finished.stderr


@pytest.mark.parametrize("name", ["Dg", "sevenchr", "a-b", "../x"])
def test_a_bad_name_exits_2(name: str) -> None:
    """A name that would not do for a directory or a namespace is refused."""
    finished = grid("up", name=name)
    assert finished.returncode == 2
    assert "GRID_NAME" in finished.stderr


def test_an_unprivileged_user_gets_the_hint_sudo() -> None:
    """Without root the exit status is 77, which test suites take for a skip."""
    nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    with CI_GRID.open() as script:  # nobody may not be able to enter the checkout
        finished = subprocess.run(
            [*nobody, "bash", "-s", "up"],
            stdin=script,
            env=environment(FIRST),
            capture_output=True,
            text=True,
            check=False,
            timeout=20,
        )
    assert finished.returncode == 77
    assert "sudo ci/grid up" in finished.stderr


def test_a_foreign_directory_is_refused(tmp_path: Path) -> None:
    """Up does not move into a directory with other things, nor does down empty it."""
    done("down")
    (tmp_path / "thesis").touch()
    for command, status in (("up", 1), ("down", 0)):
        finished = subprocess.run(
            [CI_GRID, command],
            env=environment(FIRST) | {"GRID_DIR": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
            timeout=20,
        )
        assert finished.returncode == status, finished
    assert [path.name for path in tmp_path.iterdir()] == ["thesis"]
