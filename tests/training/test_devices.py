"""Which devices a head is trained on."""

import pytest
import torch
from lightning.pytorch.accelerators import MPSAccelerator
from omegaconf import OmegaConf

from style_match.training.devices import backend, num_processes
from style_match.utils.errors import UserError

HEAD = torch.nn.Linear(2, 2)


@pytest.fixture
def machine(monkeypatch):
    def has(*, cuda=0, mps=False):
        monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
        monkeypatch.setattr(MPSAccelerator, "is_available", staticmethod(lambda: mps))

    return has


def asked(accelerator, devices, head=HEAD):
    trainer = {"accelerator": accelerator, "devices": devices}
    return num_processes(OmegaConf.create({"trainer": trainer}), head)


@pytest.mark.parametrize(
    ("has", "accelerator", "devices", "library"),
    [
        ({}, "auto", 3, "gloo"),
        ({}, "cpu", 2, "gloo"),
        ({"cuda": 2}, "auto", 2, "nccl"),
        ({"cuda": 2}, "gpu", 1, "nccl"),
        ({"cuda": 2}, "cuda", 2, "nccl"),
        ({"cuda": 2}, "cpu", 4, "gloo"),
        ({"mps": True}, "auto", 1, "gloo"),
    ],
)
def test_a_process_for_each_device(machine, has, accelerator, devices, library):
    machine(**has)
    assert asked(accelerator, devices) == devices
    assert backend(accelerator) == library


@pytest.mark.parametrize(
    ("has", "accelerator", "devices", "said"),
    [
        ({"cuda": 2}, "auto", 3, r"=auto: this machine has 2 GPUs\. Write trainer\.devices=2 or less, or trainer\.acc"),
        ({"cuda": 1}, "gpu", 2, r"=gpu: this machine has 1 GPU\. Write trainer\.devices=1 or trainer\.accelerator=cpu"),
        ({}, "gpu", 1, r"trainer\.devices=1, .*=gpu: this machine has no GPUs\. Write trainer\.accelerator=cpu\.$"),
        ({"mps": True}, "auto", 2, r"has 1 GPU\. Write trainer\.devices=1 or trainer\.accelerator=cpu\.$"),
    ],
)
def test_more_devices_than_there_are(machine, has, accelerator, devices, said):
    machine(**has)
    with pytest.raises(UserError, match=said):
        asked(accelerator, devices)


def test_a_head_without_gradient_steps_needs_one_process(machine):
    machine()
    assert asked("auto", 5, torch.nn.Identity()) == 1
