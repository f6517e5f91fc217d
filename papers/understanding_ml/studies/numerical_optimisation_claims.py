"""The claims of the study numerical_optimisation, and how each is measured on its rows."""

from collections.abc import Callable
from typing import Any

from papers.understanding_ml.study import Rows, farthest_from, measured
from shared.claims import Claim

NAME = "numerical_optimisation"


def within(value: float, tolerance: float) -> dict[str, Any]:
    """What a claim of equality holds for, and the same in words."""
    words = f"{value:.6g} +- {tolerance:g}"
    return {"holds": lambda found: abs(found - value) <= tolerance, "tolerance": words}


def below(limit: float) -> dict[str, Any]:
    """The same of an upper limit that rounding does not reach."""
    return {"holds": lambda found: found < limit, "tolerance": f"< {limit:g}"}


def above(limit: float) -> dict[str, Any]:
    """The same of a lower limit."""
    return {"holds": lambda found: found > limit, "tolerance": f"> {limit:g}"}


BOUND: dict[str, Any] = {"holds": lambda ratio: ratio <= 1 + 1e-9, "tolerance": "<= 1 to rounding", "average": max}


def slope_of(of: str) -> Callable[[Rows], list[float]]:
    """A fitted slope of each seed."""
    return measured(NAME, "slopes", lambda seed: float(seed.loc[seed["of"] == of, "slope"].iloc[0]))


def over_error(of: str, less: float = 0) -> Callable[[Rows], list[float]]:
    """How many of its standard errors a slope is above ``less``."""

    def value(seed: Rows) -> float:
        own = seed[seed["of"] == of].iloc[0]
        return float((own["slope"] - less) / own["error"])

    return measured(NAME, "slopes", value)


def worst_rate(method: str) -> Callable[[Rows], list[float]]:
    """The largest relative difference of a fitted slope to log(rate), over kappa."""
    return measured(NAME, "rates", lambda seed: float(abs(seed.loc[seed["method"] == method, "slope"] - 1).max()))


def first_factor(seed: Rows) -> float:
    """Gradient descent's fitted factor a step, kappa = 1.25."""
    return float((1 / 9) ** seed.loc[seed["method"] == "gradient descent", "slope"].iloc[0])


def largest(part: str, *columns: str) -> Callable[[Rows], list[float]]:
    """The largest value in some columns of a part."""
    return measured(NAME, part, lambda seed: float(seed[list(columns)].to_numpy().max()))


def of_bound(part: str) -> Callable[[Rows], list[float]]:
    """The most that a gap is of its bound."""
    return measured(NAME, part, lambda seed: float((seed["gap"] / seed["bound"]).max()))


def scale_difference(method: str) -> Callable[[Rows], list[float]]:
    """The largest difference between an adaptive method's paths with and without stretched axes."""
    return measured(NAME, "adaptive", lambda seed: float(seed.loc[seed["method"] == method, "difference"].iloc[0]))


def fewer_gradients(part: str, *methods: str) -> Callable[[Rows], list[float]]:
    """The largest ratio of a method's gradients to those of the next in the list."""

    def value(seed: Rows) -> float:
        counts = seed.set_index("method")["gradients"].loc[list(methods)].to_numpy()
        return float((counts[:-1] / counts[1:]).max())

    return measured(NAME, part, value)


CLAIMS = (
    Claim(
        id="uml-opt-fig141",
        source="Section 14.1, function of Figure 14.1",
        statement="Gradient descent's factor a step with the step size 2/(L + mu): (kappa-1)/(kappa+1) = 1/9 (fitted)",
        measure=measured(NAME, "rates", first_factor),
        **within(1 / 9, 1e-6),
        average=farthest_from(1 / 9),
    ),
    Claim(
        id="uml-opt-gd-rate",
        source="Section 14.1, for a quadratic",
        statement="Gradient descent: log|w_t - w*| falls by log((kappa-1)/(kappa+1)) a step (largest relative "
        "difference of the fitted slope, kappa = 1.25, 10, 100)",
        measure=worst_rate("gradient descent"),
        **below(1e-5),
        average=max,
    ),
    Claim(
        id="uml-opt-exact-search-rate",
        source="Nocedal and Wright 2006, section 3.3",
        statement="An exact line search is no faster from the worst start: the same rate (largest relative difference)",
        measure=worst_rate("exact search"),
        **below(1e-5),
        average=max,
    ),
    Claim(
        id="uml-opt-momentum-rate",
        source="Polyak 1964",
        statement="Momentum: t ((sqrt(kappa)-1)/(sqrt(kappa)+1))^t (largest relative difference of the fitted "
        "slope, kappa = 10, 100)",
        measure=worst_rate("momentum"),
        **below(0.02),
        average=max,
    ),
    Claim(
        id="uml-opt-nesterov-rate",
        source="Nesterov 2004, derived in the notes",
        statement="Nesterov's momentum: t (1 - 1/sqrt(kappa))^t (largest relative difference of the fitted slope, "
        "kappa = 10, 100)",
        measure=worst_rate("Nesterov"),
        **below(0.02),
        average=max,
    ),
    Claim(
        id="uml-opt-largest-step",
        source="Derived in the notes",
        statement="Gradient descent converges just below the step size 2/L, momentum below 2(1+beta)/L, Nesterov's "
        "below 2(1+beta)/(1+2beta)/L; 2 % above they are stopped as diverged (share of right outcomes)",
        measure=measured(NAME, "stability", lambda seed: float(seed["right"].mean())),
        **within(1, 0),
        average=min,
    ),
    Claim(
        id="uml-opt-backtracking",
        source="Armijo's condition, derived in the notes",
        statement="Backtracking never goes below the step size (1 - c_1)/L where that is at most 1 (smallest step "
        "over it)",
        measure=largest("line search", "shortest"),
        **above(1),
        average=min,
    ),
    Claim(
        id="uml-opt-wolfe",
        source="Nocedal and Wright 2006, section 3.1",
        statement="All steps of BFGS on Rosenbrock's function satisfy both Wolfe conditions (share)",
        measure=largest("line search", "wolfe"),
        **within(1, 0),
        average=min,
    ),
    Claim(
        id="uml-opt-cor142-bound",
        source="Corollary 14.2",
        statement="Subgradient descent's mean iterate is within B rho/sqrt(T) of the best (largest ratio; the worst "
        "function attains 1)",
        measure=largest("worst", "lipschitz", "random"),
        **BOUND,
    ),
    Claim(
        id="uml-opt-cor142-slope",
        source="Corollary 14.2",
        statement="On the worst function the gap has the slope -1/2 in log T, T from 16 to 1024",
        measure=slope_of("lipschitz"),
        **within(-0.5, 0.01),
    ),
    Claim(
        id="uml-opt-smooth-slope",
        source="Step size 1/L; Drori and Teboulle 2014 for the worst function",
        statement="Gradient descent on smooth convex functions, the worst of T steps: slope of the gap in log(2T + 1)",
        measure=slope_of("smooth"),
        **within(-1, 0.01),
    ),
    Claim(
        id="uml-opt-accelerated-slope",
        source="Nesterov 1983, 2004",
        statement="Nesterov's growing momentum on his worst function of T steps: slope of the gap in log(T + 1)",
        measure=slope_of("accelerated"),
        **within(-2, 0.1),
    ),
    Claim(
        id="uml-opt-smooth-bounds",
        source="Derived in the notes",
        statement="Both stay below L R^2/(2T) and 2 L R^2/(T+1)^2 (largest ratio)",
        measure=largest("worst", "smooth", "accelerated"),
        **BOUND,
    ),
    Claim(
        id="uml-opt-sgd-bound",
        source="Theorem 14.8",
        statement="SGD's mean iterate, on average over the runs, is within B rho/sqrt(T) of the best (largest ratio)",
        measure=of_bound("coin"),
        **BOUND,
    ),
    Claim(
        id="uml-opt-sgd-slope",
        source="Theorem 14.8",
        statement="For a biased coin's E|w - z| that gap has the slope -1/2 in log T, T from 64 to 4096",
        measure=slope_of("coin"),
        **within(-0.5, 0.1),
    ),
    Claim(
        id="uml-opt-projection",
        source="Section 14.4, Theorem 14.8",
        statement="Projected SGD on least squares: |w| <= B and therefore |v| <= rho (largest ratio)",
        measure=largest("projected", "length", "subgradient"),
        **BOUND,
    ),
    Claim(
        id="uml-opt-projected-bound",
        source="Theorem 14.8, section 14.4",
        statement="Its mean iterate is within B rho/sqrt(T) of the best in the ball (ratio, mean of the runs)",
        measure=largest("projected", "bound"),
        **BOUND,
    ),
    Claim(
        id="uml-opt-strong-bound",
        source="Theorem 14.11",
        statement="SGD with eta_t = 1/(lambda t): mean of all iterates within rho^2/(2 lambda T) (1 + log T) "
        "(largest ratio)",
        measure=of_bound("kink"),
        **BOUND,
    ),
    Claim(
        id="uml-opt-strong-slope",
        source="Theorem 14.11",
        statement="That gap over 1 + log T has the slope -1 in log T, T from 64 to 8192",
        measure=slope_of("average"),
        **within(-1, 0.1),
    ),
    Claim(
        id="uml-opt-log-factor",
        source="Theorem 14.11",
        statement="The log T is there: T times the gap rises with log T (slope over its standard error)",
        measure=over_error("log factor"),
        **above(5),
    ),
    Claim(
        id="uml-opt-suffix-slope",
        source="Remark 14.3",
        statement="The mean of the last half of the iterates: slope -1 in log T, without that factor",
        measure=slope_of("suffix"),
        **within(-1, 0.05),
    ),
    Claim(
        id="uml-opt-average-in-noise",
        source="Figure 14.3",
        statement="SGD with a constant step: distance of the average to w* over a typical iterate's (median of the "
        "runs)",
        measure=largest("noise", "ratio"),
        **below(0.5),
    ),
    Claim(
        id="uml-opt-adagrad-scale",
        source="Duchi, Hazan, Singer 2011",
        statement="Adagrad on curvatures 1, 100, 10,000 along the axes takes the path of curvatures 1, 1, 1 "
        "(largest difference)",
        measure=scale_difference("Adagrad"),
        **below(1e-5),
        average=max,
    ),
    Claim(
        id="uml-opt-rmsprop-scale",
        source="Tieleman and Hinton 2012",
        statement="The same of RMSProp",
        measure=scale_difference("RMSProp"),
        **below(1e-5),
        average=max,
    ),
    Claim(
        id="uml-opt-adam-scale",
        source="Kingma and Ba 2015",
        statement="The same of Adam",
        measure=scale_difference("Adam"),
        **below(1e-5),
        average=max,
    ),
    Claim(
        id="uml-opt-adaptive-turned",
        source="Derived in the notes",
        statement="With the axes turned that is lost: distance to w* after 300 steps over the aligned one (smallest "
        "of the three)",
        measure=measured(NAME, "adaptive", lambda seed: float(seed["turned"].min())),
        **above(10),
        average=min,
    ),
    Claim(
        id="uml-opt-adagrad-regret",
        source="Duchi, Hazan, Singer 2011, derived in the notes",
        statement="Adagrad's mean iterate is within (D^2/(2 eta) + eta) sum_i |g_i| / T of the best at every T "
        "(largest ratio)",
        measure=largest("regret", "bound"),
        **BOUND,
    ),
    Claim(
        id="uml-opt-rmsprop-cycle",
        source="Derived in the notes",
        statement="RMSProp with a constant step ends in a cycle around w* of a size proportional to eta (slope in "
        "log eta)",
        measure=slope_of("RMSProp"),
        **within(1, 0.05),
    ),
    Claim(
        id="uml-opt-newton-order",
        source="Nocedal and Wright 2006, section 3.3",
        statement="Newton: slope of log|w_{k+1} - w*| in log|w_k - w*| (from 1e-1 to 1e-5, logistic loss)",
        measure=slope_of("Newton"),
        **within(2, 0.15),
    ),
    Claim(
        id="uml-opt-bfgs-order",
        source="Nocedal and Wright 2006, section 6.4",
        statement="BFGS converges superlinearly: the same slope (from 1e-1 to 1e-7) less 1, over its standard error",
        measure=over_error("BFGS", less=1),
        **above(3),
    ),
    Claim(
        id="uml-opt-bfgs-termination",
        source="Nocedal and Wright 2006, section 6.4",
        statement="BFGS with exact searches ends in d = 10 steps on a quadratic, along conjugate directions "
        "(distance left, and largest cosine)",
        measure=largest("termination", "left", "cosine"),
        **below(1e-6),
        average=max,
    ),
    Claim(
        id="uml-opt-logistic-gradients",
        source="Observation",
        statement="Gradients to F - F* <= 1e-6, logistic loss: Newton < BFGS < Nesterov < gradient descent (largest "
        "ratio to the next; gradient descent, not there after 300, counts as 300)",
        measure=fewer_gradients("logistic", "Newton", "BFGS", "Nesterov", "gradient descent"),
        **below(1),
        average=max,
    ),
    Claim(
        id="uml-opt-rosenbrock-gradients",
        source="Observation",
        statement="Rosenbrock's function, F <= 1e-6: gradients of BFGS over those of backtracking steepest descent",
        measure=fewer_gradients("rosenbrock", "BFGS", "line search"),
        **below(0.1),
    ),
    Claim(
        id="uml-opt-slope-errors",
        source="Least squares; for SGD 200 resamplings of the runs",
        statement="The standard error of the fitted slopes above (largest)",
        measure=largest("slopes", "error"),
        **below(0.05),
        average=max,
    ),
)
