'''The training loop that domains share.

A domain says what is trained, unit by unit (:class:`~nichenas.core.training.loop.Training`); the loop validates it,
watches limits and divergence, keeps what is best, and writes and reads checkpoints::

    import torch
    from torch import nn

    from nichenas.core.training.loop import Part, Training, train
    from nichenas.core.trial import Measurement


    class Fit(Training):
        """A linear network, with a learning rate that falls to 0 at the end of the training in one go."""

        def __init__(self, data, part, context):
            super().__init__(validate_every=2, checkpoint_every=10)
            self.data, self.total = data, part.total
            with context.seeded("weights"):
                self.network = nn.Linear(data.train_x.shape[1], 1).to(context.device)
            self.optimizer = torch.optim.SGD(self.network.parameters(), lr=0.1, momentum=0.9)

        def advance(self):
            self.optimizer.param_groups[0]["lr"] = 0.1 * (1 - self.done / self.total)
            self.optimizer.zero_grad()
            nn.functional.mse_loss(self.network(self.data.train_x), self.data.train_y).backward()
            self.optimizer.step()

        def validate(self):
            with torch.no_grad():
                return {"error": nn.functional.mse_loss(self.network(self.data.valid_x), self.data.valid_y)}

        def better(self, figures, best):  # without it, the last validation counts
            return figures["error"] < best["error"]

        def stateful(self):
            return {"network": self.network, "optimizer": self.optimizer}


    def evaluate(self, proposal, context):  # of a domain
        part = Part.of(proposal, self.settings.epochs)
        history = train(Fit(self.data, part, context), context, part)
        return Measurement(history.values, tuple(history.curves["error"]), epochs=history.trained)

A full training is ``train(fit, context, Part.whole(epochs))``. Randomness comes from ``context``, by the number of the
unit (``context.numpy(f"batches {self.done}")``), or from generators that are part of the state: then a training in
parts, or one that was interrupted, is the training in one go, bit for bit.
'''
