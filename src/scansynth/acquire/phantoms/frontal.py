"""The thorax seen from the back or the front: where each ray enters and leaves its parts, in closed form.

Solids of closed form are taken where a ray crosses one coronal plane of theirs, as (x, y) in mm of the patient's frame.
"""

from functools import cached_property

import numpy as np

from scansynth.acquire.phantoms import skeleton, thorax
from scansynth.acquire.phantoms.pleura import Cavity, Interval
from scansynth.acquire.phantoms.projection import Rays, Tubes, chord, hull
from scansynth.acquire.phantoms.thorax import FAT, LUNG, MARROW, SOFT, Body, State, capsule, span


class Chest:
    """What a frontal film shows of one body in one state."""

    RAISED = False  # the arms
    GIRTH = 220.0  # mm; fat is the outer layer of a circle of this diameter
    VESSELS = 110.0  # mm of lung with which vessels show in full

    def __init__(self, rays: Rays, body: Body, state: State):
        """Intersect every ray with the cavities, taken as one, and with each solid that lies in them."""
        self.rays, self.body, self.state = rays, body, state
        self.x, self.y = rays.at(-8.0)
        pleura = lung_interval(rays, body, self.x, self.y)
        self.inside = pleura[1] > pleura[0]
        heart = hull(rays, thorax.heart(body, state))
        self.heart_shadow = heart[1] > heart[0]
        solids = [heart, *(hull(rays, part) for part in thorax.mediastinum(body)), dome_interval(rays, body, state)]
        hurt, size = state.pneumothorax
        shells = (size, size * (1 - 1.6 / body.width)) if hurt else ()  # a pleura of 1.6 mm
        self.cavities = [
            Cavity(
                rays,
                pleura,
                solids,
                fluid=self.fluid(*pleura) if any(state.effusion) else None,
                collapsed=tuple(self.shrunk(pleura, shell) for shell in shells),
                parenchyma=self.parenchyma() if hurt else LUNG,
            )
        ]

    @cached_property
    def half(self) -> np.ndarray:
        """Half the thickness of soft tissue in mm along each ray."""
        return trunk(self.body, *self.rays.at(0.0))

    def tubes(self) -> Tubes:
        """The detector for bones, airways and vessels."""
        return Tubes(self.rays)

    def fluid(self, low: np.ndarray, high: np.ndarray) -> Interval:
        """Interval of pleural fluid: from the back forwards, climbing along the lateral wall as a meniscus."""
        tall = np.where(self.x > 0, np.float32(self.state.effusion[1]), np.float32(self.state.effusion[0]))
        aside = np.minimum(np.abs(self.x) / self.body.width, 1)
        level = thorax.sulcus(self.body, self.state) + tall * (0.5 + 0.5 * aside**3)
        part = np.clip((level - self.y) / (0.25 * tall + 4), 0, 1) * (tall > 0)
        part = part * part * (3 - 2 * part)
        if self.rays.distance > 0:  # PA: the back is nearest the source
            return low, low + part * (high - low)
        return high - part * (high - low), high

    def parenchyma(self) -> np.ndarray:
        """Attenuation per mm of lung; a collapsed lung holds the same tissue in less room."""
        where, size = self.state.pneumothorax
        return np.where((self.x > 0) == (where == "L"), np.float32(LUNG / size**2), np.float32(LUNG))

    def shrunk(self, pleura: Interval, size: float) -> Interval:
        """Intervals of the lungs with the collapsed one drawn towards its hilum to ``size``."""
        side = 1 if self.state.pneumothorax[0] == "L" else -1
        root = skeleton.hilum(self.body, side)
        x, y = root[0] + (self.x - root[0]) / size, root[1] + (self.y - root[1]) / size
        low, high = lung_interval(self.rays, self.body, x.astype(np.float32), y.astype(np.float32))
        low, high = np.clip(low, *pleura), np.clip(high, *pleura)
        here = self.x * side > 0
        # Medially and below, the collapsed lung keeps to its cavity.
        keep = here & ((self.x - root[0]) * side > 0)
        return np.where(keep, low, pleura[0]), np.where(keep, high, pleura[1])

    def breasts(self) -> np.ndarray | float:
        """Extra line integral of the breasts: half of each lies on the front of the chest, half in it."""
        return sum(0.5 * FAT * chord(self.rays, *breast) for breast in thorax.breasts(self.body))

    def axial_bones(self) -> np.ndarray:
        """Line integral of the vertebral bodies: denser end plates and sides, gaps at the discs."""
        x, y = self.rays.at(-62.0)
        image = np.zeros_like(x)
        near = np.nonzero((np.abs(x) < 26).any(0))[0]
        window = slice(near[0], near[-1] + 1)
        x, y = np.abs(x[:, window]), y[:, window]
        half = 14.0 + np.clip((self.body.apex - y) / 300, -0.15, 1.0) * 7
        across = np.clip((half - x) / 4 + 0.5, 0, 1)
        level, plate = skeleton.levels(self.body, y)
        edge = np.exp(-(((half - 2 - x) / 2.5) ** 2))
        bone = self.body.bone * (MARROW - SOFT) * 26
        image[:, window] = across * (level * (1 + 0.4 * edge) + 0.5 * plate) * bone
        return image

    def cardiothoracic_ratio(self) -> float:
        """Width of the heart's shadow over the widest of the lungs', in the projection."""
        columns = np.nonzero(self.heart_shadow.any(0))[0]
        cavity = self.inside & (self.y > thorax.sulcus(self.body, self.state))
        order = np.arange(self.rays.size)
        widths = np.where(cavity, order, -1).max(1) - np.where(cavity, order, self.rays.size).min(1) + 1
        return float((np.ptp(columns) + 1) / widths.max())

    def effusions(self) -> tuple[float, float]:
        """Pleural fluid in ml, right and left."""
        wet = self.cavities[0].wet()
        return float(wet[self.x < 0].sum()), float(wet[self.x > 0].sum())


def lung_interval(rays: Rays, body: Body, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where rays through (x, y) mid-chest enter and leave the pleural cavity of their side, ignoring organs."""
    outer, inner, depth = span(body, y)
    centre = np.float32(0.40 * body.width)
    x = np.abs(x)
    away = np.where(
        x > centre, (x - centre) / np.maximum(outer - centre, 1e-3), (centre - x) / np.maximum(centre - inner, 1e-3)
    )
    flat = np.where(x > centre, 1 - away * away * np.sqrt(away), 1 - (away * away) ** 2)
    half = depth * np.sqrt(np.maximum(flat, 0)) * (y < body.apex)
    one, other = rays.depth(-8.0 - half), rays.depth(-8.0 + half)
    return np.minimum(one, other), np.maximum(one, other)


def dome_interval(rays: Rays, body: Body, state: State) -> tuple[np.ndarray, np.ndarray]:
    """Where each ray runs beneath the diaphragm: a paraboloid front to back, falling ever more steeply sideways."""
    middle = 18.0
    x, y = rays.at(middle)
    top = thorax.dome_top(body, state) - np.where(x > 0, np.float32(state.left_lower), np.float32(0))
    aside = (np.abs(x) - 0.50 * body.width) / (0.53 * body.width)
    fall = body.domes[0] * np.where(
        aside > 0, 1 - np.sqrt(np.maximum(1 - aside**2, 0)) + 0.25 * aside**2, 0.35 * aside**2
    )
    curve = body.domes[1] / (body.depth + middle) ** 2
    climb = rays.direction[1] / rays.direction[2]
    root = np.sqrt(np.maximum(climb**2 + 4 * curve * (top - fall - y), 0))
    one, other = (rays.depth(middle + (-climb + s * root) / (2 * curve)) for s in (-1, 1))
    return np.minimum(one, other), np.maximum(one, other)


def trunk(body: Body, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Half the thickness of the body's soft tissue at (x, y)."""
    x = np.abs(x)
    top = body.apex - 4
    # The outline of a body hardly depends on the tilt of the film, so its profile along y is taken once per row.
    row = y[:, y.shape[1] // 2, None]
    up = np.clip((row - (top - 130)) / 130, 0, 1)
    wide = body.width + body.wall + 10 * up + 12 * np.clip((-70 - row) / 100, -0.4, 1) * (not body.female)
    deep = (body.depth + 0.8 * body.wall) * np.sqrt(1 - 0.55 * up**2) * np.clip((top + 45 - row) / 60, 0, 1)
    ratio = np.minimum(x / wide, 1)
    chest = deep * np.sqrt(1 - ratio * ratio * np.sqrt(ratio))
    joint = body.width + body.wall + 12
    parts = [
        capsule(x, y, (30, top + 14), (joint, top - 36), 62, 54),
        capsule(x, y, (joint, top - 40), (joint + 25 + body.arms, top - 290), 50, 46),
        capsule(x, y, (16, top + 66), (joint - 45, top - 2), 54, 36),
        capsule(x, y, (0, top), (0, top + 200), 58, 60),
    ]
    total = np.square(chest * chest)
    for part in parts:
        total += np.square(1.6 * part)  # limbs and neck are deeper than they are wide
    total = np.sqrt(np.sqrt(total))
    lung = span(body, row)[2]
    return np.where(chest > 0, np.maximum(total, np.minimum(lung + 14, 4 * chest)), total)
