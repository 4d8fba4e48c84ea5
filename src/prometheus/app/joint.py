"""The joint space: regimes joined with texts and macro numbers, read, judged, and updated with the regimes."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from prometheus.app.backfills import BackfillCase, EngineChoice
from prometheus.app.saying import listening
from prometheus.app.settled_joins import SettledJoins
from prometheus.backfill.joint import JointBackfill, JointReport, JointRequest, JointRun, load_examples
from prometheus.backfill.local import ReadyWork
from prometheus.backfill.plan import DateSpan
from prometheus.backfill.work import BackfillRun, run_of_nothing
from prometheus.core.config import PrometheusConfig, RegionDefinition
from prometheus.data.postgres.locks import open_claims
from prometheus.data.series import list_series
from prometheus.encoders.catalogue import knowledge_end
from prometheus.encoders.identity import NUM_REGIME_CORE_V2
from prometheus.encoders.joint.examples import REGIME_MACRO, REGIME_NEWS, JointGroup, JointSpace, StoredJointEmbedding
from prometheus.encoders.joint.macro_model import FROZEN_UNTIL, MACRO_FAMILY, MACRO_MODEL_ID, MacroJointModel, Shares
from prometheus.encoders.joint.models import (
    DEFAULT_NUMERIC_WEIGHT,
    FAMILY,
    BranchCentres,
    CentredJointModel,
    SimpleAverageJointModel,
    numeric_weight_of,
    unit_rows,
)
from prometheus.encoders.joint.numbers import SERIES
from prometheus.encoders.numeric.regions import NUM_REGIME_REGION_V1
from prometheus.encoders.texts.codes import canonical, spellings_of
from prometheus.encoders.texts.documents import TEXT_TABLES
from prometheus.errors import InputRefusedError, UsageError, no_joint_rows, unknown_instrument
from prometheus.market.outcomes import forward_log_volatility
from prometheus.protocols import JointEmbeddingModel

if TYPE_CHECKING:
    from prometheus.evaluation.figures import HarmCheck

CENTRED_FAMILY_PREFIX = "joint-regime-core-v2"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class JointModelChoice:
    """The models of a joint backfill, as the user named them."""

    numeric_model_id: str
    text_model_id: str
    joint_model_id: str
    numeric_weight: float | None = None
    text_weight: float | None = None
    text_share: float | None = None
    centre_until: date | None = None
    numbers_share: float | None = None

    def __post_init__(self) -> None:
        if self.has_numbers:
            if (self.numeric_weight, self.text_weight) != (None, None):
                raise UsageError(f"{MACRO_MODEL_ID} takes no weights; give --numbers-share and --text-share")
            self.shares({})
            return
        if self.numbers_share is not None:
            raise UsageError(f"--numbers-share belongs to {MACRO_MODEL_ID}")
        if self.text_share is not None and (self.numeric_weight is not None or self.text_weight is not None):
            raise UsageError("give either --text-share or weights")
        if not self.is_centred:
            if self.text_share is not None or self.centre_until is not None:
                raise UsageError(f"--text-share and --centre-until belong to {CENTRED_FAMILY_PREFIX}")
            self.simple_model()
        elif self.text_share is not None:
            numeric_weight_of(self.text_share)
        else:
            SimpleAverageJointModel(*self._weights())

    @property
    def has_numbers(self) -> bool:
        """Whether the joint model joins macro numbers."""
        return self.joint_model_id.startswith(MACRO_MODEL_ID)

    def shares(self, stored: Mapping[str, Any]) -> Shares:
        """Return the shares of v3: those given, else those of its stored configuration, else the default ones."""
        given = {"numbers": self.numbers_share, "texts": self.text_share}
        return Shares(**stored.get("shares", {}) | {name: share for name, share in given.items() if share is not None})

    @property
    def is_centred(self) -> bool:
        """Whether the joint model centres its branches."""
        return self.joint_model_id.startswith(CENTRED_FAMILY_PREFIX)

    @property
    def family_id(self) -> str:
        """The id that those of models of this kind begin with."""
        return MACRO_MODEL_ID if self.has_numbers else CENTRED_FAMILY_PREFIX

    def simple_model(self) -> SimpleAverageJointModel:
        """Return the v1 model with these weights."""
        given = (self.numeric_weight, self.text_weight)
        return SimpleAverageJointModel(*(0.5 if weight is None else weight for weight in given))

    def centred_weight(self) -> float | None:
        """Return the numeric weight of v2, the two adding to 1; None if not given."""
        if self.text_share is not None:
            return numeric_weight_of(self.text_share)
        if self.numeric_weight is None and self.text_weight is None:
            return None
        numeric, text = self._weights()
        return numeric / (numeric + text)

    def _weights(self) -> tuple[float, float]:
        numeric, text = self.numeric_weight, self.text_weight
        if numeric is None:
            numeric = DEFAULT_NUMERIC_WEIGHT if text is None else 1.0 - text
        return numeric, 1.0 - numeric if text is None else text


@dataclass(frozen=True, slots=True)
class TextBranch:
    """A joint space, its models for a region, and the filters of its texts."""

    space: JointSpace
    text_model_id: str
    joint_model_id: str
    filters: Mapping[str, str | None]


class JoinTexts(BackfillCase):
    """Joins regimes with texts; reads and judges joint rows."""

    kind = "joint"

    def backfill(
        self, requests: Sequence[JointRequest], choice: JointModelChoice, *, dry_run: bool = False
    ) -> BackfillRun[JointReport]:
        """Join and store the rows of each request; UsageError or InputRefusedError if the model lacks what it needs."""
        if choice.has_numbers:
            requests = [self._with_series(request, choice) for request in requests]
        settled = SettledJoins(self._wired, choice, requests)
        known = [settled.find(request) for request in requests]
        left = [request for request, report in zip(requests, known, strict=True) if report is None]
        with listening() as said:
            done = self._join(left, choice, dry_run=dry_run)
        if left and not dry_run:
            settled.settle(left, done.report.runs, said)
        runs = iter(done.report.runs)
        reports = (report or _of_run(next(runs)) for report in known)
        return self._record(choice.joint_model_id, replace(done, report=sum(reports, JointReport())))

    def _join(
        self, requests: Sequence[JointRequest], choice: JointModelChoice, *, dry_run: bool
    ) -> BackfillRun[JointReport]:
        if not requests:
            return run_of_nothing(JointReport(), is_dry=dry_run)
        for request in requests:
            self._wired.texts.require_known(TEXT_TABLES[request.space.text_source].name, request.filters)
        work = self._work(choice.joint_model_id, lambda request: self._chosen_model(choice, request))
        spelled = [self._spelled(request, choice.joint_model_id) for request in requests]
        with open_claims(self._wired.db_manager) as claims:
            engine = EngineChoice(workers=1, dry_run=dry_run)
            return self._run(choice.joint_model_id, ReadyWork(work, claims), spelled, JointReport(), engine)

    def join_anew(
        self, region: str, numeric_model_id: str, stale: Sequence[tuple[JointGroup, Collection[date]]]
    ) -> Counter[str]:
        """Rewrite rows older than their regimes, adding none; return the number of changed rows by joint model."""
        changed: Counter[str] = Counter()
        for group, dates in stale:
            config = self._wired.registry.load_config(group.model_id) or {}
            if config.get("family") not in _MODELS:
                continue
            model = _MODELS[config["family"]](config)
            work = self._work(group.model_id, partial(_same_model, model), only=dates)
            request = _request_of(group, region, numeric_model_id, DateSpan.of_range(min(dates), max(dates)))
            report = work.write(work.encode(work.read(request)))
            if report.written:
                changed[group.model_id] += report.written
        return changed

    def joinable(self, span: DateSpan, joint_model_id: str) -> DateSpan | None:
        """Return the dates of a span that a joint model may join: those after its frozen means, if it has any."""
        config = self._wired.registry.load_config(joint_model_id)
        until = FROZEN_UNTIL if joint_model_id.startswith(MACRO_MODEL_ID) else None
        until = until if config is None else knowledge_end(config)
        if until is None:
            return span
        start = max(span.start, until + timedelta(days=1))
        return DateSpan.of_range(start, span.end) if start <= span.end else None

    def with_numbers(self, region: str, numeric_model_id: str, until: date) -> list[TextBranch]:
        """Return the joint models of a region's prices and macro numbers without texts that have rows up to a date."""
        stored = self._wired.joint_vectors.stored_rows(region, until)
        names = {
            each.model_id
            for each in stored
            if (each.joint_type, each.model_id[: len(MACRO_MODEL_ID)]) == (REGIME_MACRO.joint_type, MACRO_MODEL_ID)
            and (each.numeric_model_id, each.text_model_id) == (numeric_model_id, None)
            and "timezone" not in each.entity_scope[REGIME_MACRO.filters_key]
        }
        return [TextBranch(REGIME_MACRO, self._wired.config.text_model_id, name, {}) for name in sorted(names)]

    def rows(
        self, space: JointSpace, region: str, model_id: str, start: date, end: date, limit: int | None
    ) -> list[StoredJointEmbedding]:
        """Return stored joint embeddings of a region, oldest first; NotFoundError without any."""
        rows = self._wired.joint_vectors.load(space, region, model_id, start, end, limit)
        if not rows:
            raise no_joint_rows(region, space.joint_type, model_id)
        return rows

    def check_harm(self, request: JointRequest, joint_model_id: str, instrument_id: str) -> HarmCheck:
        """Compare volatility forecasts from a region's joint rows with those from their numeric branch alone.

        The volatility is that of the instrument's adjusted closes. NotFoundError without joint rows or bars.
        """
        from prometheus.evaluation.figures import check_harm  # noqa: PLC0415 -- slow to import, and only here

        config = self._wired.registry.load_config(joint_model_id) or {}
        request = replace(self._spelled(request, joint_model_id), series=tuple(config.get("series", ())))
        start, end = request.span.start, request.span.end
        rows = self._wired.joint_vectors.load(request.space, request.region, joint_model_id, start, end)
        rows = [row for row in rows if row.entity_scope == request.entity_scope]
        if not rows:
            raise no_joint_rows(request.region, request.space.joint_type, joint_model_id)
        stored = self._wired.storage.load_embeddings(request.region, request.numeric_model_id, start, end)
        numeric_of = dict(zip(stored.dates, stored.vectors, strict=True))
        bars = self._wired.reader.load_bars([instrument_id], start, date.max, 1, ["adjusted_close"])
        if not len(bars.dates):
            raise unknown_instrument(instrument_id)
        session_of = {day: number for number, day in enumerate(bars.dates.tolist())}
        rows = [row for row in rows if row.as_of_date in session_of and row.as_of_date in numeric_of]
        numeric = np.stack([numeric_of[row.as_of_date] for row in rows]).astype(np.float64)
        centres = self._centres(joint_model_id)
        if centres is not None:
            numeric = unit_rows(numeric - centres.numeric)
        sessions = np.array([session_of[row.as_of_date] for row in rows], dtype=np.int64)
        targets = forward_log_volatility(bars.column("adjusted_close"))[sessions]
        return check_harm(numeric, np.stack([row.vector for row in rows]), targets, sessions)

    def _spelled(self, request: JointRequest, joint_model_id: str) -> JointRequest:
        """Return a request with its filters as the model's stored rows of this meaning spell them, else by the code."""
        stored = [
            dict(rows.entity_scope[request.space.filters_key])
            for rows in self._wired.joint_vectors.stored_rows(request.region, date.max)
            if (rows.joint_type, rows.model_id) == (request.space.joint_type, joint_model_id)
        ]
        given = request.entity_scope[request.space.filters_key]
        codes = {name: canonical(name, value) for name, value in given.items()}
        alike = [each for each in stored if _means(each) == _means(given)]
        spelling = next((each for each in (given, codes) if each in alike), alike[0] if alike else codes)
        return replace(
            request,
            filters={**request.filters, **{name: spelling[name] for name in request.filters if name in spelling}},
        )

    def _centres(self, joint_model_id: str) -> BranchCentres | None:
        config = self._wired.registry.load_config(joint_model_id) or {}
        return BranchCentres.from_config(config["centres"]) if config.get("family") == FAMILY else None

    def _work(
        self, model_id: str, model_of: Callable[[JointRequest], JointEmbeddingModel],
        only: Collection[date] | None = None,
    ) -> JointBackfill:  # fmt: skip
        wired = self._wired
        stores = (wired.storage, wired.daily_texts, wired.joint_vectors)
        return JointBackfill(*stores, model_id, model_of, only=only, series=wired.series)

    def _with_series(self, request: JointRequest, choice: JointModelChoice) -> JointRequest:
        """Return a request of v3 with the series of its model, and without texts where these hold no share."""
        name, numeric = choice.joint_model_id, request.numeric_model_id
        if numeric != NUM_REGIME_CORE_V2 and not numeric.startswith(NUM_REGIME_REGION_V1):
            raise UsageError(
                f"{name} joins standard scores, which {numeric} does not give; choose --numeric-model-id "
                f"{NUM_REGIME_CORE_V2}, or a region's own"
            )
        config = self._wired.registry.load_config(name) or {}
        stored = {each.series_id for each in list_series(self._wired.db_manager)}
        series = tuple(config.get("series") or (each for each in SERIES if each in stored))
        if not series:
            raise InputRefusedError(
                f"{name} needs macro series, and none is stored; load some of {', '.join(SERIES)} with ingest series"
            )
        absent = ", ".join(each for each in SERIES if each not in series)
        if absent:
            new_id = f" and choose a new --joint-model-id, such as {name}-more" if config else ""
            logger.warning("%s is made without %s; to have them, load them with ingest series%s", name, absent, new_id)
        if choice.shares(config).texts:
            return replace(request, series=series)
        ignored = ", ".join(f"--{key.replace('_', '-')} {value}" for key, value in request.filters.items() if value)
        if ignored:
            logger.info("texts hold no share of %s: %s chooses none", name, ignored)
        return replace(request, series=series, text_model_id=None, filters={})

    def _chosen_model(self, choice: JointModelChoice, request: JointRequest) -> JointEmbeddingModel:
        stored = self._wired.registry.load_config(choice.joint_model_id) or {}
        if choice.has_numbers:
            shares = choice.shares(stored)
            if choice.centre_until is not None and not shares.texts:
                raise UsageError(f"--centre-until is for texts, which hold no share of {choice.joint_model_id}")
            centres = self._means(choice, request, stored) if shares.texts else None
            return MacroJointModel(request.series, shares, centres)
        if not choice.is_centred:
            return choice.simple_model()
        weight, is_known = choice.centred_weight(), stored.get("family") == FAMILY
        if weight is None:
            weight = stored["numeric_weight"] if is_known else DEFAULT_NUMERIC_WEIGHT
        return CentredJointModel(self._means(choice, request, stored if is_known else {}), weight)

    def _means(self, choice: JointModelChoice, request: JointRequest, stored: Mapping[str, Any]) -> BranchCentres:
        """Return the frozen means of a stored configuration, or those of the dates that the user names."""
        name = choice.joint_model_id
        if "centres" in stored:
            centres = BranchCentres.from_config(stored["centres"])
            if dict(centres.source) != request.source:
                made_of = ", ".join(centres.source.get(key, "?") for key in request.source)
                raise UsageError(
                    f"the means of {name} were taken of {made_of}; for others choose a new --joint-model-id, such as "
                    f"{choice.family_id}-{request.region}"
                )
            if choice.centre_until not in (None, centres.until):
                raise UsageError(
                    f"the means of {name} are frozen on dates up to {centres.until}; for others choose a new "
                    f"--joint-model-id, such as {choice.family_id}-{choice.centre_until}"
                )
            return centres
        if choice.centre_until is None:
            raise UsageError(f"{name} has no frozen means yet; give --centre-until DATE, earlier than all dates joined")
        past = replace(request, span=DateSpan.of_range(date.min, choice.centre_until), series=())
        examples = load_examples(self._wired.storage, self._wired.daily_texts, past).examples
        return BranchCentres.fit(examples, choice.centre_until, request.source)


def text_branches(config: PrometheusConfig, region: str, definition: RegionDefinition) -> tuple[TextBranch, TextBranch]:
    """Return the text branches of a region; ``{region}`` in a joint model's name stands for the region."""
    macro, news = (name.replace("{region}", region) for name in (config.joint_model_id, config.news_joint_model_id))
    return (
        TextBranch(REGIME_MACRO, config.text_model_id, macro, {"country": definition.country, "event_type": None}),
        TextBranch(REGIME_NEWS, config.news_text_model_id, news, {"language": definition.language}),
    )


def _means(filters: Mapping[str, str]) -> dict[str, list[str]]:
    return {name: spellings_of(name, value) for name, value in filters.items()}


def _of_run(run: JointRun) -> JointReport:
    report = run.report
    return JointReport(report.planned, report.written, (), report.n_bytes, runs=(run,))


def _same_model(model: JointEmbeddingModel, _request: JointRequest) -> JointEmbeddingModel:
    return model


_MODELS: Mapping[str, Callable[[Mapping[str, Any]], JointEmbeddingModel]] = {
    MACRO_FAMILY: MacroJointModel.from_config,
    FAMILY: lambda config: CentredJointModel(BranchCentres.from_config(config["centres"]), config["numeric_weight"]),
    "weighted-average": lambda config: SimpleAverageJointModel(config["numeric_weight"], config["text_weight"]),
}


def _request_of(group: JointGroup, region: str, numeric_model_id: str, span: DateSpan) -> JointRequest:
    space = REGIME_MACRO if group.joint_type == REGIME_MACRO.joint_type else REGIME_NEWS
    filters = dict(group.entity_scope[space.filters_key])
    timezone = filters.pop("timezone", "UTC")
    series = tuple(group.entity_scope.get("series", ()))
    return JointRequest(space, region, span, numeric_model_id, group.text_model_id, filters, timezone, series)
