"""Two sentences on each cure of cures.py.

The program fills in the means of the ledger: decades a layer of weights, slopes and the rest, and `way`, the decades of
all ten layers; `patient` has those of the patient.
"""

WHY = {
    "the patient": "A slope of σ is at most 1/4: the slopes have {slopes} decades a layer, and W has {weights}. "
    "Ten layers change ‖δ‖ by {way} decades.",
    "orthogonal, σ": "An orthogonal W keeps the length of what it multiplies: its part is {weights} decades a layer. "
    "But it was {patient[weights]} before; the slopes have {slopes}, as in the patient.",
    "LayerNorm before σ": "The biases spread z over the neurons of a layer by about 1 already, so that dividing by "
    "this spread changes little: {other} decades a layer. The slopes have {slopes}, for σ′ is at most 1/4 also there.",
    "convolutions, σ": "A filter is a W that all positions share, and its part is {weights} decades a layer. "
    "The slopes are those of σ, {slopes}, so that ‖δ‖ still changes by {way} decades.",
    "LayerNorm after σ": "The outputs of σ differ little, and the norm divides by their small spread: it has {other} "
    "decades a layer. The slopes have {slopes}, and most of that is paid back.",
    "autoencoders first": "A layer that codes its input needs larger weights: W has {weights} decades a layer, and had "
    "{patient[weights]}. The slopes still have {slopes}; larger weights pay it back, and do not take it away.",
    "residual": "The gradient of x + σ(Wx + b) is δ itself plus a part that passes σ′: the nine blocks have {other} "
    "decades a layer. The {slopes} of the slopes are those of the first layer, which has no way around it.",
    "BatchNorm before σ": "In a deep layer z differs little from image to image, and the norm divides by this small "
    "spread: it has {other} decades a layer. The slopes have {slopes}, and that is paid back.",
    "tanh, Xavier": "The slope of tanh at 0 is 1: the slopes have {slopes} decades a layer, not {patient[slopes]}. "
    "Xavier's W keeps the length of δ and of the signal, {weights}, so that z stays where the slope is near 1.",
    "tanh, orthogonal": "As with Xavier, the slopes have {slopes} decades a layer. "
    "W has {weights} in each draw, and not only on average.",
    "ReLU, He": "A slope of ReLU is 0 or 1, about half of each: the slopes have {slopes} decades a layer. "
    "He's W is larger by √2 and has {weights}.",
    "convolutions, ReLU": "As with ReLU and He in a dense net, the slopes have {slopes} decades a layer, and W has "
    "{weights}. W pays back less here, because strides and edges give some pixels fewer consumers.",
    "weights × 10": "W has {weights} decades a layer, and because most neurons now saturate the slopes have {slopes}. "
    "The two nearly cancel: ‖δ‖ changes by {way} decades.",
    "weights × 30": "W has {weights} decades a layer, the slopes have {slopes}: saturation pays back a part only. "
    "‖δ‖ changes by {way} decades, and no single learning rate suits the first layer and the last.",
    "weights × 100": "W has {weights} decades a layer, the slopes have {slopes}. "
    "‖δ‖ changes by {way} decades: it explodes, as Skansi warns.",
}
