"""Every kind of consumer of the unmodified Java client reads everything: push (concurrent, with a message refused once
and delivered again, by tag, orderly) and lite pull."""

from processes import check

TITLE = "the unmodified Java client's consumers read everything"
COUNT = 100


def run(bench):
    found = bench.java.consume(bench.server.namesrv, "JavaConsumers", COUNT, 60)
    expected = {"concurrent": (COUNT, 1), "tagged": (COUNT // 2, 0), "orderly": (COUNT, 0), "lite": (COUNT, 0)}
    for name, (distinct, returned) in expected.items():
        check(found.get(name) == (distinct, returned),
              f"{name}: distinct messages and those delivered again {found.get(name)}, expected {(distinct, returned)}")
