"""Runs every expression on DuckDB and on a local Spark, and prints as JSON where the rows differ.

A process of its own: the JVM ends with it, and what PySpark warns about pandas stays outside of the tests.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from zoneinfo import ZoneInfo

import duckdb
import ibis
from ibis.backends.sql.compilers.duckdb import DuckDBCompiler

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

import dora_facts

from gitops_nb.dora import catalogue
from gitops_nb.dora.expressions import Question, unbound
from gitops_nb.dora.windows import Window


def main() -> None:
    """Arguments: a folder for the tables, and the number of changes."""
    folder, changes = Path(sys.argv[1]), int(sys.argv[2])
    # So few services that some deployments follow each other within a week also in a small sample.
    is_large = changes >= 1_000_000
    services = 500 if is_large else 20
    dora_facts.write(folder, changes=changes, deployments=changes // 10, services=services)
    window = Window(
        dora_facts.START_S + 9 * 86_400, dora_facts.START_S + dora_facts.YEARS_S * 3 // 4
    )
    question = Question("production", window.end_s, first_environments=("staging",))
    expressions = catalogue.all_expressions(question, window, zone=ZoneInfo("Europe/Berlin"))
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    from pyspark.sql import SparkSession

    spark = (
        SparkSession.builder.master("local[2]")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.memory", "3g")
        # Generating and compiling Java for each expression is worth it for many rows only.
        .config("spark.sql.codegen.wholeStage", "true" if is_large else "false")
        .config("spark.sql.codegen.factoryMode", "FALLBACK" if is_large else "NO_CODEGEN")
        .config("spark.driver.extraJavaOptions", "" if is_large else "-XX:TieredStopAtLevel=1")
        .config("spark.sql.shuffle.partitions", "4" if is_large else "1")
        .config("spark.sql.session.timeZone", "UTC")
        .getOrCreate()
    )
    spark.sparkContext.setLogLevel("ERROR")
    engine = ibis.pyspark.connect(spark)
    database = duckdb.connect()
    for name in unbound():
        spark.read.parquet(str(folder / f"{name}.parquet")).createOrReplaceTempView(name)
        database.execute(f"create view {name} as from '{folder / name}.parquet'")
    rows, different = {}, []
    for name, expression in expressions.items():
        spark.sql(engine.compile(expression)).write.parquet(str(folder / "spark" / name))
        theirs = f"(from '{folder / 'spark' / name}/*.parquet')"
        ours = f"({DuckDBCompiler().to_sqlglot(expression).sql('duckdb')})"
        query = (
            f"select (select count(*) from {ours}), (select count(*) from {theirs}), "
            f"(select count(*) from (from {ours} except all from {theirs}))"
        )
        own, other, only_own = database.execute(query).fetchone()
        rows[name] = own
        if own != other or only_own:
            different.append(f"{name}: {own} rows, {other} on Spark, {only_own} differ")
    spark.stop()
    seen = database.execute("select count(*) from change").fetchone()[0]
    print(json.dumps({"changes": seen, "rows": rows, "different": different}))


if __name__ == "__main__":
    main()
