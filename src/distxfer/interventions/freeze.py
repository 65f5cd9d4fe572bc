"""Keep layers as the pretraining left them."""

from dataclasses import dataclass

from distxfer.encoders import Encoder, Layers, layer_numbers
from distxfer.interventions._contract import Bound, Languages
from distxfer.languages import Distances


@dataclass(frozen=True)
class Freeze:
    """Do not train `layers` (numbers from 1, or a third: `lower`, `middle`, `upper`), nor, by default, what is below.

    `embeddings`: also freeze the embeddings (positions and their layer norm; the matrix of word embeddings has the key
    `model.train_word_embeddings`). Reference: freezing of layers in Philippy et al. 2023, which kept the embeddings
    trainable, and AlignFreeze (Bakos et al. 2025).
    """

    layers: Layers = "lower"
    embeddings: bool = True

    def bind(self, encoder: Encoder, languages: Languages, distances: Distances) -> Bound:
        """Return which parameters may still train; no term is added."""
        frozen = layer_numbers(self.layers, encoder.layers, "layers")

        def trains(parameter: str) -> bool:
            place = encoder.place(parameter)
            return place not in frozen and not (self.embeddings and place == "embeddings")

        return Bound(trains=trains)
