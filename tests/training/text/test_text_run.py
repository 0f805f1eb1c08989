"""Training with texts, beside what it was without; then a matcher that answers to texts in two languages."""

import torch

from style_match.data.texts import Texts
from style_match.models.head.mlp import MLP
from style_match.models.text_term import TextTerm
from tests.training.text.parts import fitted, made_data, made_matcher

NUM = 40


def texts() -> Texts:
    generator = torch.Generator().manual_seed(3)
    features = made_data(NUM).features @ torch.randn(24, 10, generator=generator)
    return Texts(features, torch.arange(2 * NUM)[:, None], torch.empty(2 * NUM, 0, dtype=torch.long), part_share=0.5)


def own_head() -> MLP:
    return MLP(in_dim=10, hidden_dim=16, dim=16, bias=False, standardize=False)


def test_with_texts_the_rest_of_a_batch_is_as_before():
    plain, other = made_data(NUM), made_data(NUM, texts=texts())
    for batch, wider in zip(plain.train_dataloader(), other.train_dataloader(), strict=True):
        assert wider.keys() - batch.keys() == {"texts", "text_numbers", "people"}
        assert all(torch.equal(batch[name], wider[name]) for name in batch)


def test_a_text_is_of_the_photo_beside_it():
    data = made_data(NUM, texts=texts())
    for batch in data.train_dataloader():
        assert torch.equal(batch["texts"], data.texts.features[batch["text_numbers"]])
        assert torch.equal(data.features[batch["text_numbers"]], batch["features"])
        assert torch.equal(batch["people"], batch["text_numbers"])


def test_the_term_teaches_texts_and_its_head_is_in_the_checkpoint(tmp_path):
    data = made_data(NUM, texts=texts())
    term = TextTerm(weight=1.0, temperature=0.1, head=own_head())
    matcher = made_matcher(text=term)
    trainer = fitted(matcher, data, tmp_path, max_epochs=25)
    state = torch.load(trainer.checkpoint_callback.best_model_path, weights_only=True)["state_dict"]
    assert {"text.head.linear1.weight", "head.linear1.weight"} <= state.keys()
    assert trainer.logged_metrics["train/text_loss"] < 1.5
    with torch.no_grad():
        photos, said = matcher.head(data.features[-16:]), term.head(data.texts.features[-16:])
    rank = (said @ photos.T).argsort(dim=1, descending=True).argsort(dim=1).diagonal() + 1
    assert (1 / rank).mean() > 0.4  # chance is 0.21, of photos that are not in training


def test_a_weight_of_the_term_moves_the_photos_head(tmp_path):
    heads = []
    for weight in (0.5, 2.0):
        matcher = made_matcher(text=TextTerm(weight=weight, temperature=0.1, head=own_head()))
        fitted(matcher, made_data(NUM, texts=texts()), tmp_path / str(weight), max_epochs=1)
        heads.append(matcher.head.linear1.weight)
    assert not torch.equal(*heads)
