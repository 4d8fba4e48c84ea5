"""Lists the fixtures; they live in `tests/fixtures`."""

pytest_plugins = [
    "tests.fixtures.order",
    "tests.fixtures.examples",
    "tests.fixtures.database",
    "tests.fixtures.market",
    "tests.fixtures.stores",
    "tests.fixtures.commands",
    "tests.fixtures.plugin_package",
    "tests.fixtures.ray_cluster",
]
