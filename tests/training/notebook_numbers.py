"""Ask the portrait notebook's own code, in its own PyTorch, for the numbers that tests compare.

    python3.9 -m venv venv
    venv/bin/pip install torch==1.9.1 "numpy<1.24" "opencv-python-headless<4.8"
    venv/bin/python tests/training/notebook_numbers.py Data_Mining_Project.ipynb

with the notebook of rdutta1999/bg-removal-human-portrait at 61905d6. It runs the cells that define
the loss and the schedule, and writes `notebook-numbers.json`.
"""

import json
import math
import sys
from pathlib import Path

import torch

FILE = Path(__file__).with_name("notebook-numbers.json")
STEPS = (0, 1, 100, 1750, 5000, 7873, 7874, 7875, 13_125, 20_000, 26_000, 26_248, 26_249)
PROBES = ((0, 0, 3, 4), (0, 0, 12, 10), (1, 0, 12, 22), (1, 0, 20, 30))  # pixels


def truth() -> torch.Tensor:
    """Two discs with soft edges, of 24 x 32 pixels."""
    y, x = torch.arange(24.0)[:, None], torch.arange(32.0)
    discs = [
        (radius + 0.5 - ((y - 11.5) ** 2 + (x - middle) ** 2).sqrt()).clamp(0, 1)
        for radius, middle in ((8, 13.0), (5, 20.3))
    ]
    return torch.stack(discs)[:, None]


def answers() -> torch.Tensor:
    """Seven outputs that are wrong in different ways, as logits."""
    y, x = torch.arange(24.0)[:, None], torch.arange(32.0)
    waves = [2 * torch.sin(x / (3 + k)) * torch.cos(y / (2 + k)) for k in range(7)]
    return 4 * truth()[None] - 2 + torch.stack(waves)[:, None, None]


def main(notebook: Path) -> None:
    cells = ["".join(cell["source"]) for cell in json.loads(notebook.read_text("utf-8"))["cells"]]
    code: dict = {}
    exec("import cv2, torch, numpy as np\nDEVICE = torch.device('cpu')", code)
    for name in ("class RMSELoss", "def create_edge_masks", "def custom_boundary_based_loss"):
        exec(next(cell for cell in cells if cell.startswith(name)), code)
    logits = answers().requires_grad_()
    outputs = [torch.sigmoid(each) for each in logits]
    loss = code["custom_boundary_based_loss"](outputs, truth(), includeBoundaryLoss=True)
    loss.backward()
    held_out = code["custom_boundary_based_loss"](outputs, truth())

    network = torch.nn.Linear(1, 1)
    code.update(model=network, train_loader=range(1750))
    exec(next(cell for cell in cells if cell.startswith("start_epoch = 0")), code)
    optimizer, rates = code["optimizer"], []
    for _ in range(15 * 1750):
        group = optimizer.param_groups[0]
        rates.append((group["lr"], group["betas"][0]))
        optimizer.step()
        code["scheduler"].step()
    numbers = {
        "torch": torch.__version__,
        "loss": loss.item(),
        "held out": held_out.item(),
        "gradient": [[logits.grad[k][at].item() for at in PROBES] for k in range(7)],
        "gradient, sum of sizes": logits.grad.abs().sum().item(),
        "rates": {str(step): rates[step] for step in STEPS},
        "sum of rates": math.fsum(rate for rate, _ in rates),
        "sum of betas": math.fsum(beta for _, beta in rates),
        "Adam": {k: v for k, v in group.items() if k in ("eps", "weight_decay", "betas")},
    }
    FILE.write_text(json.dumps(numbers, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
