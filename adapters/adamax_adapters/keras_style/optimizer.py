"""The Keras-style optimizer: `tf.keras.optimizers.Adamax` for arrays of every library."""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Self

from adamax import validation
from adamax._public import public
from adamax.given import held
from adamax.rule import Coefficients
from adamax.schedules import LearningRateSchedule
from adamax.sparse import Gradient, IndexedSlices
from adamax.typing import Array, ArrayLike, Variables
from adamax.variable import Variable
from adamax_adapters.backends import BackendName, checked_backend
from adamax_adapters.backends.contract import Backend, Write
from adamax_adapters.gradients import Engine, Loss, VarList, gradient_pairs
from adamax_adapters.keras_style import config as configs
from adamax_adapters.keras_style import habits
from adamax_adapters.keras_style import hyperparameters as hyper
from adamax_adapters.keras_style import state as states
from adamax_adapters.keras_style import weights as host
from adamax_adapters.keras_style.hyperparameters import Hyperparameter
from adamax_adapters.step.checks import updatable
from adamax_adapters.step.pairs import complete_pairs, ready_pairs
from adamax_adapters.step.slots import Slots
from adamax_adapters.step.taking import take_step

__all__ = ["Adamax"]


@public
class Adamax:
    """Optimizer that implements Adamax, with the interface of `tf.keras.optimizers.Adamax`.

    At step t, with the gradient g of a variable p and its slots m and v::

        m <- m + (g - m) * (1 - beta_1)
        v <- max(v * beta_2, |g|)
        p <- p - (m / (v + epsilon)) * learning_rate / (1 - beta_1^t)

    Parameters
    ----------
    learning_rate : number >= 0, callable () -> number, or LearningRateSchedule
        In parameter units per step.
    beta_1, beta_2 : number in [0, 1), or callable
        Decay of the first moment and of the infinity norm.
    epsilon : number >= 0, or callable
        In gradient units. None selects 1e-7. With 0, an element whose gradients were all 0 is
        divided by 0 and becomes NaN.
    name : str
        Prefix of slot names. If empty or None, defaults to ``adamax``, ``adamax_1``, ...
    clipnorm, clipvalue, global_clipnorm : number >= 0, optional
        Clip each gradient by its own L2 norm, then every element, then all gradients together by
        their global norm.
    decay : number >= 0
        Divide the learning rate by ``1 + decay * iterations``.
    lr : number >= 0, optional
        Alias of `learning_rate`; takes precedence.
    backend : str or object, optional
        A name in `adamax_adapters.backends.BACKENDS`, or a backend object. Default: the fastest
        for each variable.

    Raises
    ------
    TypeError, ValueError
        If a keyword is unknown, or a hyperparameter has the wrong type, is None or NaN, or is out
        of range.

    Notes
    -----
    Kingma & Ba, 2014 (arXiv:1412.6980), section 7.1. Hyperparameters are attributes, checked when
    they are set. A failing call changes nothing. NaN and infinity reach the parameters silently.

    Examples
    --------
    >>> import numpy as np
    >>> from adamax import Adamax, Variable
    >>> w = Variable(np.array([1.0, 2.0]), name="w")
    >>> opt = Adamax(learning_rate=0.1)
    >>> opt.apply_gradients([(np.array([0.5, -4.0]), w)]).numpy()
    array(1)
    >>> w.numpy().round(3)
    array([0.9, 2.1])
    """

    learning_rate: hyper.Rate = Hyperparameter(validation.non_negative, schedule=True)
    lr: hyper.Rate = Hyperparameter(
        validation.non_negative, schedule=True, alias_of="learning_rate"
    )
    decay: hyper.Number = Hyperparameter(validation.non_negative)
    beta_1: hyper.Number = Hyperparameter(validation.fraction)
    beta_2: hyper.Number = Hyperparameter(validation.fraction)
    epsilon: hyper.NumberOrDefault = Hyperparameter(hyper.epsilon_or_default)
    clipnorm: hyper.Limit = Hyperparameter(hyper.clip_limit)
    clipvalue: hyper.Limit = Hyperparameter(hyper.clip_limit)
    global_clipnorm: hyper.Limit = Hyperparameter(hyper.clip_limit)
    backend: hyper.Choice = Hyperparameter(checked_backend, called=False)

    @habits.known_keywords
    def __init__(
        self,
        learning_rate: float | Callable[[], float] | LearningRateSchedule = 0.001,
        beta_1: float | Callable[[], float] = 0.9,
        beta_2: float | Callable[[], float] = 0.999,
        epsilon: float | Callable[[], float] | None = hyper.DEFAULT_EPSILON,
        name: str | None = "Adamax",
        *,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        decay: float = 0.0,
        lr: float | None = None,
        backend: BackendName | Backend | None = None,
    ) -> None:
        habits.refuse_parameters(learning_rate)
        self.learning_rate = learning_rate
        if lr is not None:
            self.learning_rate = validation.non_negative(lr, "lr")
        self.beta_1, self.beta_2, self.epsilon = beta_1, beta_2, epsilon
        self.decay, self.backend = decay, backend
        self.clipnorm, self.clipvalue, self.global_clipnorm = clipnorm, clipvalue, global_clipnorm
        self._name = hyper.name_or_default(name)
        self._slots = Slots(self._name)
        self._iterations: Variable | None = None
        self._added: list[Variable] = []

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        habits.refuse_methods(cls)

    __getstate__ = host.copied_state
    __repr__ = configs.representation
    get_config, to_json = configs.get_config, configs.to_json
    get_weights, set_weights, add_weight = host.get_weights, host.set_weights, host.add_weight
    get_state, set_state, describe = states.get_state, states.set_state, states.describe

    if not TYPE_CHECKING:  # a type checker is to find such attributes missing

        def __getattr__(self, name: str) -> Any:
            raise habits.missing_attribute(self, name)

    @property
    def name(self) -> str:
        """Prefix of slot names."""
        return self._name

    @property
    def current_learning_rate(self) -> float:
        """The number that the next step will use, with schedule and decay applied."""
        return hyper.rate_at(self.learning_rate, self.decay, int(self.iterations))

    @property
    def iterations(self) -> Variable:
        """Number of steps taken, an int64 variable; assign it another before it is first used."""
        if self._iterations is None:
            self._iterations = host.new_counter(f"{self._name}/iter")
        return self._iterations

    @iterations.setter
    def iterations(self, variable: Variable) -> None:
        self._iterations = host.counter(variable, instead_of=self._iterations)

    def apply_gradients(
        self,
        grads_and_vars: Iterable[tuple[ArrayLike | IndexedSlices | None, Array]],
        name: str | None = None,
        experimental_aggregate_gradients: bool = True,
    ) -> Variable:
        """Take one step, and return `iterations`, one higher.

        Parameters
        ----------
        grads_and_vars : iterable of (gradient, variable)
            A variable is a `Variable` of any library, or an array that can be written to, which
            is updated in place. A gradient is an array of its shape, `IndexedSlices`, or None,
            which leaves the variable as it is. A variable passed twice takes two steps with the
            same t. An empty iterable takes no step.
        name, experimental_aggregate_gradients : optional
            Accepted for programs of Keras 2; have no effect in one process without a graph.

        Raises
        ------
        TypeError, ValueError, RuntimeError
            If a pair is malformed, a variable cannot be updated, a gradient does not fit its
            variable, or there is none at all. The message names the variable. All arguments are
            checked before any array is modified.
        """
        limits = hyper.limits_of(self)
        take_step(self._slots, grads_and_vars, self._next, limits=limits, backend=self.backend)
        return self.iterations

    def _next(self) -> tuple[Coefficients, Write]:
        """Return the coefficients of the next step, and the function that counts it."""
        t = host.step_after(self.iterations)

        def count() -> None:
            self.iterations.held[...] = t

        return hyper.coefficients_of(self, t), count

    def minimize(
        self,
        loss: Loss,
        var_list: VarList,
        grad_loss: ArrayLike | None = None,
        name: str | None = None,
        *,
        engine: Engine | None = None,
        return_loss: bool = False,
    ) -> Variable | Any:
        """Take one step down the loss; returns and raises as `apply_gradients` does.

        Parameters
        ----------
        loss : callable () -> scalar, or () -> (value, gradients)
            Called once. It reads variables, by `v.value` or by `v` in expressions. If it returns
            a pair, `gradients` have the structure of `var_list`.
        var_list : a variable, nested sequences and mappings of them, or a callable () -> those
            A callable is called after the loss.
        grad_loss : number or array of the shape of the loss, optional
            Factor of the gradients of the loss.
        engine : 'tape', 'jax', 'torch', 'autograd' or callable, optional
            Differentiates the loss; see `adamax.value_and_gradients`.
        return_loss : bool
            Return the value of the loss, from before the step, instead of `iterations`.
        """
        value, pairs = gradient_pairs(loss, var_list, grad_loss=grad_loss, engine=engine)
        iterations = self.apply_gradients(pairs, name)
        return value if return_loss else iterations

    def get_gradients(self, loss: Loss, params: VarList) -> list[Gradient]:
        """Return the clipped gradients as a flat list, in the slots' dtype; none may be None."""
        _, pairs = gradient_pairs(loss, params)
        return [*ready_pairs(complete_pairs(pairs), self._slots, hyper.limits_of(self))[0]]

    def get_updates(self, loss: Loss, params: VarList) -> list[Variable]:
        """Take one step down a loss of which every gradient exists; return ``[iterations]``."""
        _, pairs = gradient_pairs(loss, params)
        return [self.apply_gradients(complete_pairs(pairs))]

    def build(self, var_list: Variables) -> None:
        """Make the slots of variables before the first step, such as to `set_weights`."""
        variables = self._slots.chosen([var_list])
        for variable in variables:
            updatable(variable)
        self._slots.change(lambda: self._slots.build(variables))

    def add_slot(
        self,
        var: Array,
        slot_name: str,
        initializer: str | ArrayLike | Callable[..., Any] = "zeros",
    ) -> Variable:
        """Return the slot of that name; make it where there is none.

        `initializer` is 'zeros', 'ones', a callable (shape, dtype=dtype) -> array, or the value.
        The slot is in the namespace and on the device of `var`; float32 where `var` has 16 bits.
        """
        variable = self._slots.holders([held(var)])[0]
        return self._slots.change(lambda: self._slots.add(variable, slot_name, initializer))

    def get_slot(self, var: Array, slot_name: str) -> Variable:
        """Return a slot that is there; KeyError if it is not."""
        return self._slots.get(held(var), slot_name)

    def get_slot_names(self) -> list[str]:
        """Return the names of slots in the order they were first made."""
        return list(self._slots.names)

    @property
    def weights(self) -> list[Variable]:
        """`iterations`, all m, all v, then other slots; variables in the order first seen."""
        return [self.iterations, *self._slots]

    def variables(self) -> list[Variable]:
        """Return `weights`."""
        return self.weights

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None
    ) -> Self:
        """Build the optimizer that `get_config` described; it has no slots yet.

        `config` is not modified. In it, `lr` is an alias, and schedules are dictionaries, as from
        `adamax.schedules.serialize`; `custom_objects` maps names of further schedules to classes.
        """
        return configs.from_config(cls, config, custom_objects)

    @classmethod
    def from_json(cls, text: str, custom_objects: Mapping[str, Any] | None = None) -> Self:
        """Build an optimizer from the text that `to_json` returned; ValueError for other text."""
        built: Self = configs.build(configs.read_json(text), [cls], custom_objects)
        return built
