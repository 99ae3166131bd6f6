"""Why something was not done, in the words of the report. ``docs/nn.md`` says what to do about each."""

SIGN_CHANGES = "the sign of what follows changes more than once: it is computed in numbers"
NO_COMPARISON = "no comparison of its input gives the signs of what follows"
SEVERAL_BITS_OF_K = "K of several bits of the weight has no packed form; use weight_bits=1 or scale='alpha'"
NOT_A_STEP = "no step of a kernel gives {kind}; ReLU, Hardtanh, PReLU and LeakyReLU are steps"
BATCH_STATISTICS = "it takes the statistics of each batch (track_running_stats=False)"
OTHER_CHANNELS = "its channels are not those of what comes in"
NO_MULTIPLY_ADD = "no multiply-add gives its results bit for bit; exact=False folds it nevertheless"
HOOKED = "it has hooks or a forward of its own; it is called as it is: remove them before deploy"
OVERRIDDEN = "{kind} overrides what {base} calls; it is called as it is"
NO_GRAPH = "it cannot be a graph, {where}: {error}"
WRITES_TO_OUT = "it cannot be a graph, since {node} writes to out="
WRITES_IN_PLACE = "it cannot be a graph, since {node} writes in place"
WRITES_TO_SHARED = "it cannot be a graph, since {node} writes in place to what is read under another name"
HAS_DEFAULT = (
    "it cannot be a graph, since the argument {name} has a default; the graph would be that of a call with it"
)
ONE_SIGN = (
    "{share} of {channels} channels have one sign for all inputs{after}; "
    "an activation that gives no negative number makes every sign +1: take it out, or put a batch-norm "
    "behind it; and a batch-norm of weight 0 gives one number"
)
