"""The nightly run as an Airflow DAG (Airflow 3, provider `standard`); Prometheus lives in an environment of its own."""

from datetime import datetime, timedelta, timezone

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

PYTHON = "/opt/prometheus/.venv/bin/python"
SETTINGS = "/etc/prometheus-regime/nightly.env"

with DAG(
    dag_id="prometheus_nightly",
    schedule="30 22 * * 1-5",  # UTC: after the close of New York in summer and winter
    start_date=datetime(2025, 1, 1, tzinfo=timezone.utc),  # noqa: UP017 -- Airflow may run on Python 3.10
    catchup=False,  # one run makes good every night that was missed
    max_active_runs=1,
    tags=["prometheus"],
):
    BashOperator(
        task_id="nightly",
        bash_command=f"set -a; . {SETTINGS}; exec {PYTHON} -m prometheus nightly --json --exit-code-if-noop 99",
        skip_on_exit_code=99,  # a holiday, or a second run: skipped, not green
        retries=16,  # prices that are late, a database that is down
        retry_delay=timedelta(minutes=15),
    )
