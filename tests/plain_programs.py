"""Random programs as people write plain Python: dicts, sets, text, whole numbers, lists, loops.

A program is source text made of idioms. The same source runs on floats and, compiled, on what
stands for them. Functions that compiled code computes in another way stand in ``q(...)``, which
does nothing, or adds noise to show what rounding errors come to.
"""

from __future__ import annotations

import copy
import math
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np

NUMBERS = (0.0, 1.0, 2.0, 0.5, -1.0, 3.0, 1.5, -2.0, 0.25, -0.5, 4.0)
KEYS = ("a", "b", "c", "rate", "vol")
MODES = ("up", "down", "flat")

# The names in braces: w x y z floats, c and e numbers as text, n a whole number, m another, j an
# element of an array of whole numbers, l a list, d a dict, a an array, i an array of whole numbers,
# f a bool, s a text; v the new variable, u a helper that nobody else has.

ARITHMETIC = (
    *("{v} = {x} + {y}", "{v} = {x} * {y}", "{v} = {x} - {y}", "{v} = {x} * {c}", "{v} = -{x}"),
    *("{v} = {x} / (1.0 + {y} * {y})", "{v} = {c} - {x}", "{v} = 0.5 * {x} + {y}"),
    *("{v} = sqrt({x} * {x} + 1.0)", "{v} = sqrt(abs({x}))", "{v} = abs({x}) - {c}"),
    *("{v} = q(exp(-abs({x}))) + {y}", "{v} = q(sin({x})) * {y}", "{v} = q(tanh({x}))"),
    *("{v} = q(log(1.0 + abs({x})))", "{v} = q({x} ** 2)", "{v} = {x} * {n}", "{v} = {x} + {f}"),
)

REPEATED = (
    "{v} = 1.0 if {x} > {c} else 2.0\n{v} += 10.0 if {x} > {c} else 20.0",
    "{v} = 1.0 if {x} > {c} else 2.0\n{v} += 10.0 if {c} < {x} else 20.0",
    "{v} = 1.0 if {x} > {c} else {y}\n{v} += 10.0 if not {x} <= {c} else 20.0",
    "{v} = 1.0 if {x} >= {y} else {x}\n{v} += 10.0 if {y} <= {x} else 20.0\n"
    "{v} -= 3.0 if {x} < {y} else 5.0",
    "{v} = {x} if {x} == {c} else {y}\n{v} += 1.0 if {x} != {c} else 4.0",
    "{u} = {x} > {c}\n{v} = 1.0 if {u} else 2.0\nif {x} > {c} and {u}:\n    {v} += {y}",
    "{v} = 0.0\nfor {u} in ({c}, {e}, {c}):\n    if {x} > {u}:\n        {v} += {y}",
    "{v} = 1.0 if {c} < {x} <= {e} else 3.0\n{v} *= 2.0 if {x} <= {e} else 7.0",
    "{v} = 5.0\nif {x} < {c}:\n    {v} = {y}\nelif {x} == {c}:\n    {v} = 6.0\n"
    "elif {x} > {c}:\n    {v} = {x}",
    "{u} = q(exp({x}))\n{v} = 1.0 if {u} >= 5.0 else 2.0\n{v} += 10.0 if {u} >= 5.0 else 20.0",
    "{v} = max({x}, {c}) + (1.0 if {x} > {c} else 2.0)",
    "{v} = sum(1 for {u} in [{x}, {y}, {x}] if {u} > {c})",
)

DICTS = (
    "{v} = 0.0\nfor {u} in {d}.values():\n    {v} = 0.5 * {v} + {u}",
    "{v} = 0.0\nfor {u}, {u}1 in {d}.items():\n    {v} = {v} * 0.5 + {u}1 * len({u})",
    "{v} = list({d}.values())[0] - {x}",
    "{v} = {d}[next(iter({d}))] * {x}",
    "{v} = {d}[sorted({d})[-1]] + {x}",
    "{v} = {d}.get('a', {x}) * 2.0",
    "{v} = {d}.get('zz', {x}) * 2.0",
    "{v} = {d}['a'] if 'a' in {d} else {y}",
    "{u} = {{**{d}, 'b': {x}}}\n{v} = 0.0\nfor {u}1 in {u}:\n    {v} = 0.5 * {v} + {u}[{u}1]",
    "{u} = dict({d})\n{u}['new'] = {x}\n{u}.pop(next(iter({u})))\n{v} = sum({u}.values())",
    "{v} = {d}[max({d}, key={d}.get)]\n{v} += len(max({d}, key={d}.get))",
    "{v} = 0.0\nfor {u}, {u}1 in sorted({d}.items(), key=lambda kv: kv[1]):\n"
    "    {v} = 0.5 * {v} + {u}1 + len({u})",
    "{u} = {{'lo': {x}, 'hi': {y}}}\n{v} = {u}['hi' if {x} > {c} else 'lo']",
    "{u} = {{True: {x}, False: {y}}}\n{v} = {u}[{x} > {c}]",
    "{u} = {{True: {x} * 2.0}}\n{v} = {u}.get({x} > {c}, {y})",
    "{v} = {{1: {x}, 0: {y}}}[{x} > {c}]",
    "{v} = {{0: 5.0, 1: {x}, 2: {y}}}[({x} > {c}) + ({y} > {c})]",
    "{u} = {{}}\n{u}[{x} > {c}] = {x}\n{u}[{y} > {c}] = {y}\n"
    "{v} = len({u}) * 10.0 + {u}.get(True, 1.0)",
    "{u} = {{{x}: 1.0, {y}: 2.0}}\n{v} = {u}[{x}] + len({u})",
    "{v} = {{1.0: 10.0, 2.0: 20.0}}.get({x}, 5.0)",
    "{v} = {{1: 10.0, 2: 20.0, 3: {x}}}.get({n}, 5.0) + {y}",
    "{v} = {{1: 10.0, 2: 20.0, 3: {x}}}.get({j}, 5.0) + {y}",
    "{u} = {{'k' + str({n}): {x}}}\n{v} = {u}.get('k2', {y})",
    "{u} = {{}}\nfor {u}1, {u}2 in zip({l}, 'abcabc'):\n    {u}[{u}2] = {u}.get({u}2, 0.0) + {u}1\n"
    "{v} = 0.0\nfor {u}1 in {u}.values():\n    {v} = 0.5 * {v} + {u}1",
    "{u} = {{}}\nfor {u}1 in {l}:\n    {u}.setdefault({u}1 > {c}, []).append({u}1)\n"
    "{v} = sum({u}.get(True, [0.0])) + 100.0 * len({u})",
    "{u} = {{}}\nfor {u}1 in {l}:\n    {u}[round({u}1)] = {u}1\n{v} = len({u}) + {u}.get(1, {x})",
    "{v} = 1.0 if {d} == {d} else 2.0\n{v} += {x}",
    "{v} = 1.0 if list({d}) == sorted({d}) else 2.0",
    "{u} = {{k: 2.0 * e for k, e in {d}.items() if e > {c}}}\n{v} = sum({u}.values()) + len({u})",
    "{u} = {{e: k for k, e in {d}.items()}}\n{v} = len({u}[max({u})])",
    "{d}['a'] = {x}\n{v} = {d}['a'] + len({d})",
    "{v} = {d}.pop('a', {y})\n{v} += len({d})",
    "{v} = (lambda a=0.0, b=1.0, **rest: a - b + len(rest))(**{d})",
    "{v} = 0.0\nfor {u} in reversed(list({d}.items())):\n    {v} = 0.5 * {v} + {u}[1]",
)

SETS = (
    "{v} = 1.0 if {x} in {{1.0, 2.0, {c}}} else 2.0",
    "{v} = 1.0 if {x} in ({c}, {e}) else {y}",
    "{v} = 1.0 if {x} not in [{c}, {y}] else {y}",
    "{v} = float(len({{{x}, {y}, {z}}}))",
    "{v} = len(set({l})) * 1.0 + {x}",
    "{v} = len({{u > {c} for u in {l}}}) + {x}",
    "{v} = 1.0 if ({x} > {c}) in {{True}} else {y}",
    "{v} = 1.0 if True in [{x} > {c}, {y} > {c}] else 2.0",
    "{v} = 1.0 if {n} in {{1, 3}} else {x}",
    "{v} = 1.0 if {j} in {{1, 3}} else {x}",
    "{v} = 1.0 if {j} in (1, 3) else {x}",
    "{v} = sum({{1.0, 2.0}} & {{{x}, {y}}})",
    "{v} = 1.0 if {{{x}}} == {{{y}}} else 2.0",
    "{v} = 1.0 if {{{x}, {y}}} <= {{0.0, 1.0, 2.0}} else {y}",
    "{v} = len(frozenset([{x}, {c}])) + {y}",
    "{v} = len(dict.fromkeys([{x}, {y}, {c}])) + {y}",
    "{v} = [{x}, {y}, {x}].count({c}) + {y}",
    "{v} = [{x}, {y}, {c}].index({c}) + {y}",
)

TRUTH = (
    "{v} = [{x}, {y}][{x} > {c}]",
    "{v} = ({x}, {y})[int({x} > {c})]",
    "{v} = ({x} > {c}) * {y} + ({y} > {c})",
    "{v} = float({x} > {c}) + {y}",
    "{v} = int({x} > {c}) + {y}",
    "{v} = 1.0 if ({x} > {c}) is True else {y}",
    "{v} = 1.0 if ({x} > {c}) == True else {y}",
    "{v} = 1.0 if ({x} > {c}) == ({y} > {c}) else {y}",
    "{v} = 1.0 if ({x} > {c}) != {f} else {y}",
    "{v} = 1.0 if ({x} > {c}) & {f} else {y}",
    "{v} = 1.0 if {f} | ({x} > {c}) else {y}",
    "{v} = 1.0 if ({x} > {c}) ^ ({y} > {c}) else {y}",
    "{v} = 1.0 if not ({x} > {c}) else {y}",
    "{v} = 3.0\nmatch ({x} > {c}, {y} > {c}):\n    case (True, True):\n        {v} = {x}\n"
    "    case (True, False):\n        {v} = {y}\n    case (False, True):\n        {v} = 7.0",
    "{v} = 3.0\nmatch {x} > {c}:\n    case True:\n        {v} = {x}",
    "match {n}:\n    case 1:\n        {v} = {x}\n    case 2 | 3:\n        {v} = {y}\n"
    "    case _:\n        {v} = 1.0",
    "match {x}:\n    case 1.0:\n        {v} = {y}\n    case 2.0 | 3.0:\n        {v} = 4.0\n"
    "    case _:\n        {v} = {x}",
    "match {s}:\n    case 'up':\n        {v} = {x}\n    case 'down':\n        {v} = -{x}\n"
    "    case _:\n        {v} = 1.0",
    "{v} = {x} if {y} else 5.0",
    "{v} = {x} or {y}",
    "{v} = {x} and {y}",
    "{v} = 1.0 if not {x} else 2.0",
    "{v} = bool({x}) + {y}",
    "{v} = 1.0 if any([{x}, {y}]) else 2.0",
    "{v} = 1.0 if all({l}) else 2.0",
    "{v} = 1.0 if any(u > {c} for u in {l}) else 2.0",
    "{v} = sum(u > {c} for u in {l}) * {x}",
    "{v} = [u > {c} for u in {l}].count(True) + {x}",
    "{v} = 1.0 if [{x} > {c}, {f}] == [True, True] else {y}",
    "{v} = 1.0 if isinstance({x} > {c}, bool) else 2.0",
    "{v} = max({x} > {c}, {y} > {c}) + {y}",
    "{v} = 1.0 if ({x} > {c}) < ({y} > {c}) else {y}",
    "{v} = sum([{x} > {c}, {y} > {c}, True]) + {y}",
    "{v} = {y}\nfor {u} in range(4):\n    {v} = {v} - 1.5 * ({v} > {c})",
    "{v} = where({x} > {c}, {x}, {y})",
    "{v} = where(({x} > {c}) & ({y} <= {e}), {x} * 2.0, {y})",
    "{v} = {x} if ({x} > {c}) + ({y} > {c}) == 1 else {y}",
    "{v} = (not {x} > {c}) + {y}",
    "{v} = {y} * (2 * ({x} > {c}) - 1)",
    "{v} = {y} ** ({x} > {c})",
    "{v} = {y} / (1 + ({x} > {c}))",
    "{v} = 1.0 if np.isclose({x}, {c}) else {y}",
    "{v} = 1.0 if {f} and {x} > {c} else {y}",
    "{v} = 1.0 if {f} is True else {x}",
    "{v} = {x} if min({x}, {c}) is {x} else {y}",
    "{v} = 1.0 if str({x} > {c}) == 'True' else 2.0",
)

# The text of a traced value, by str or an empty format, says what made it and not its number, so
# that pictures and debuggers can print it: here it is only read as a number, which raises.
TEXT = (
    "{v} = float(f'{{{x}:.1f}}') + {y}",
    "{v} = float(str({x})) * {y}",
    "{v} = float('%.2f' % {x}) + {y}",
    "{v} = float('{{:.2f}}'.format({x})) + {y}",
    "{v} = float(format({x}, '.3g')) + {y}",
    "{u} = {{f'{{{x}:.0f}}': {y}}}\n{v} = {u}.get('1', 3.0)",
    "{v} = len(f'{{{n}:03d}}') + int(f'{{{n}}}') * {x}",
    "{v} = int(str({n})[-1]) + {x}",
    "{v} = int(str({j})[-1]) + {x}",
    "{v} = len(f'{{{j}:d}}') + {x}",
    "{v} = {{'up': {x}, 'down': {y}}}.get({s}, 1.0)",
    "{v} = {x} if {s} == 'up' else {y}",
    "{v} = {x} * len({s})",
    "{u} = 'up' if {x} > {c} else 'down'\n{v} = {y} if {u} == {s} else 2.0",
    "{u} = f'{{{x} > {c}}}'\n{v} = 1.0 if {u} == 'True' else 2.0",
    "{u} = ''.join('+' if u > {c} else '-' for u in {l})\n{v} = {u}.count('+') + len({u}) * {x}",
    "{v} = (hash({x}) == hash({y})) * 1.0",
    "{v} = hash({n}) * {x}",
    "{v} = float(round({x}, 1)) + {y}",
    "{u} = '-'.join(sorted({d}))\n{v} = len({u}) + {x}",
    "{u} = ','.join({d})\n{v} = {u}.index(',') + {x} if ',' in {u} else {y}",
    "{v} = len(str([{x} > {c}])) * {y}",
    "{u} = {{str({n}): {x}, str({m}): {y}}}\n{v} = {u}[str({m})] + len({u})",
    "{v} = {x}.is_integer() + {y}",
    "{v} = {x}.hex().count('8') + {y}",
    "{v} = {x}.as_integer_ratio()[0] + {y}",
)

INDICES = (
    "{v} = {l}[{n} % len({l})] * {x}",
    "{v} = {l}[-1] - {l}[0]",
    "{v} = {l}[len({l}) // 2] + {x}",
    "{v} = {l}[int({x}) % len({l})] + {y}",
    "{v} = {l}[round({x}) % len({l})] + {y}",
    "{v} = {l}[{x} > {c}] if len({l}) > 1 else {y}",
    "{v} = {l}[{j} % len({l})] * {x}",
    "{v} = {a}[{j} % len({a})] * {x}",
    "{v} = {a}[{j} * 2 % len({a})] * {x}",
    "{v} = {a}[({j} + 1) % len({a})] - {a}[{j} % len({a})]",
    "{v} = {a}[({j} * {j}) % 10 % len({a})] + {x}",
    "{v} = {a}[({j} >> 1) % len({a})] + {x}",
    "{v} = {a}[{j} & 1] + {x}",
    "{v} = {a}[-1 - {j} % 2] + {x}",
    "{v} = {a}[{j} // 3 % len({a})] + {x}",
    "{v} = {a}[{n} % len({a})] + {x}",
    "{v} = {a}[int({x}) % len({a})] + {y}",
    "{v} = {a}[int({x} > {c})] + {y}",
    "{v} = 0.0\nfor {u} in {i}:\n    {v} = 0.5 * {v} + {a}[{u} % len({a})]",
    "{v} = {a}[{i} % len({a})].sum() * {x}",
    "{v} = {a}[{i}[0] % len({a}) :].sum() + {x}",
    "{v} = sum({a}[{u}] * {u} for {u} in range({n} % 3))",
    "{v} = 0.0\nfor {u}, {u}1 in enumerate({a}):\n    {v} += {u} * {u}1",
    "{v} = ({a}[1:] - {a}[:-1]).sum() + {x}",
    "{v} = {a}[::-1][0] + {x}",
    "{v} = {a}.sum() + {a}.max()",
    "{v} = {a}.mean() * {x}",
    "{v} = float(np.argmax({a})) + {x}",
    "{v} = {a}[np.argmax({a})] + {x}",
    "{v} = np.sort({a})[0] + {x}",
    "{v} = {a}[{a} > {c}].sum() + {x}",
    "{v} = np.where({a} > {c}, {a}, {x}).sum()",
    "{v} = ({a} > {c}).sum() + {x}",
    "{v} = 1.0 if ({a} > {c}).any() else {x}",
    "{v} = 1.0 if {a}.any() else {x}",
    "{v} = np.maximum({a}, {c}).sum() + {x}",
    "{v} = np.clip({a}, 0.0, 1.0).sum() + {x}",
    "{v} = q({a} @ {a}) + {x}",
    "{v} = np.cumsum({a})[-1] + {x}",
    "{v} = {a}.tolist()[0] + {x}",
    "{v} = len({a}) + {a}.size + {x}",
    "{u} = {a}.copy()\n{u}[0] = 3.0\n{v} = {u}.sum() + {a}[0]",
    "{a}[0] = 3.0\n{v} = {a}.sum()",
    "{u} = np.zeros(3)\n{u}[1] = 2.0\n{v} = {u}.sum() * {x}",
    "{u} = np.zeros(3)\n{u}[{n} % 3] = {x}\n{v} = {u}.sum() * {y}",
    "{u} = np.array([{x}, {y}, 1.0])\n{v} = {u}[{n} % 3] * {u}.sum()",
    "{u} = [{x} > {c}, {y} > {c}]\n{v} = np.array([1.0, 2.0])[{u}].sum() + {y}",
    "{u} = [int({x} > {c}), int({y} > {c})]\n{v} = {a}[{u}].sum() + {y}",
    "{u} = np.array([{x} > {c}, {y} > {c}])\n{v} = {u}.sum() + {y}",
)

WHOLE = (
    "{v} = {n} // 2 + {n} % 3 + {x}",
    "{v} = ({n} >> 1) + ({n} << 2) + ({n} & 1) + {x}",
    "{v} = {n} ** 2 * {x}",
    "{v} = {x} if {n} % 2 else {y}",
    "{v} = {x} if {n} == 2 else {y}",
    "{v} = bin({n}).count('1') * {x}",
    "{v} = {n}.bit_length() + {x}",
    "{v} = q({x} ** {n})",
    "{u} = {n}\n{v} = 0.0\nwhile {u} > 0:\n    {v} += {x} * ({u} % 2)\n    {u} //= 2",
    "{v} = {j} * {x}",
    "{v} = {j} // 2 * {x} + {j} % 3",
    "{v} = ({j} >> 1) + {x}",
    "{v} = ({j} << 1) + ({j} & 3) + {x}",
    "{v} = ({j} ^ 1) + ({j} | 4) + {x}",
    "{v} = (~{j}) * {x}",
    "{v} = -{j} // 2 + -{j} % 4 + {x}",
    "{v} = {j} * {j} * {j} % 10 + {x}",
    "{v} = {j} ** 2 + {x}",
    "{v} = {j} ** {n} + {x}",
    "{v} = {j} / 3 + {x}",
    "{v} = divmod({j}, 3)[0] + divmod({j}, 3)[1] * {x}",
    "{v} = {x} if {j} % 2 else {y}",
    "{v} = {x} if {j} == 2 else {y}",
    "{v} = {x} if {j} else {y}",
    "{v} = {x} if {j} > {n} else {y}",
    "{v} = abs({j} - 3) * {x}",
    "{v} = max({j}, 2) + min({j}, {n}) + {x}",
    "{v} = 100 // {j} + {x}",
    "{v} = 100 % {j} + {x}",
    "{v} = float({j}) * {x}",
    "{v} = int({j}) * {x}",
    "{v} = {i}.sum() + {x}",
    "{v} = {i}.max() * {x}",
    "{v} = int({i}[0]) % 4 * {x}",
    "{v} = ({i} * 2 + 1).sum() * {x}",
    "{v} = ({i} % 3 == 1).sum() + {x}",
    "{v} = {i}[0] < {i}[-1]\n{v} = {x} if {v} else {y}",
    "{v} = 0.0\nfor {u} in range({i}[0] % 4):\n    {v} += {x} * {u}",
    "{v} = len({i}) * {x}",
    "{v} = int({x}) + {y}",
    "{v} = int({x}) % 3 + {y}",
    "{v} = round({x}) * {y}",
    "{v} = round({x}, 1) + {y}",
    "{v} = {x} // 1 + {x} % 1",
    "{v} = {x} // 0.5 + {y} % 0.75",
    "{v} = floor({x}) * 2 + {y}",
    "{v} = divmod({x}, 0.5)[0] + {y}",
    "{v} = 0.0\nfor {u} in range(int(abs({x})) % 5):\n    {v} += {y}",
    "{v} = {f} + {f} * {x}",
    "{v} = {x} if {f} else {y}",
    "{v} = [{x}, {y}][{f}]",
    "{v} = sum(range({n} % 5)) * {x}",
    "{v} = pow({n}, 3, 7) + {x}",
    "{v} = pow({j}, 2) + {x}",
    "{v} = {j} * 4503599627370497 % 1000 + {x}",
    "{v} = ({j} + 9007199254740993) % 10 + {x}",
    "{v} = ({j} * 10000000019) * ({j} + 999999937) % 7 + {x}",
    "{v} = {x} if {x} < 9007199254740993 else {y}",
    "{v} = 1.0 if {x} == {n} else {y}",
    "{v} = 1.0 if {x} > {n} else {y}",
)

LOOPS = (
    "{v} = 0.0\nfor {u} in {l}:\n    if {u} > {c}:\n        break\n    {v} += {u}",
    "{v} = 0.0\nfor {u} in {l}:\n    if {u} <= {c}:\n        continue\n    {v} += {u} * {x}",
    "{v} = {y}\nfor {u} in {l}:\n    if {u} == {c}:\n        break\nelse:\n    {v} = {x}",
    "{v} = {x}\n{u} = 0\nwhile abs({v}) > 0.5 and {u} < 6:\n"
    "    {v} *= 0.5\n    {u} += 1\n{v} += {u}",
    "{v} = 0.0\nfor {u} in range(3):\n    for {u}1 in range({u}):\n        if {x} > {u}1:\n"
    "            continue\n        {v} += {y} * {u}",
    "{v} = {x}\nfor {u} in range(5):\n    if {v} > {c}:\n        {v} -= 1.0\n"
    "    else:\n        break",
    "{u} = list({l})\n{u}.append({x})\n{u}.sort()\n{v} = {u}[0] + {u}[-1] * 0.5",
    "{u} = sorted({l})\n{v} = {u}[len({u}) // 2] + {x}",
    "{u} = sorted({l}, reverse=True)\n{v} = {u}[0] - {u}[-1] + {x}",
    "{u} = sorted({l}, key=lambda e: abs(e - {x}))\n{v} = {u}[0]",
    "{u} = sorted(range(len({l})), key=lambda k: {l}[k])\n{v} = {u}[0] + {l}[{u}[-1]]",
    "{v} = {l}.index(max({l})) + {x}",
    "{v} = max({l}) - min({l}) + max({x}, {y}, {c})",
    "{v} = max(({x}, 1.0), ({y}, 2.0))[1] + {x}",
    "{v} = min([{x}, {y}, {z}], key=lambda e: e * e)",
    "{u} = {l}[:]\n{u}.pop()\n{u}.insert(0, {x})\n{v} = 0.0\nfor {u}1 in {u}:\n"
    "    {v} = 0.5 * {v} + {u}1",
    "{u} = list({l})\n{u}[0] = {x}\n{u}.reverse()\n{v} = {u}[0] + {u}[-1]",
    "{u} = list({l})\nwhile {u}:\n    if {u}.pop() > {c}:\n        break\n{v} = len({u}) + {x}",
    "{l}.append({x})\n{v} = sum({l}) * 0.5",
    "{l}[0] = {x}\n{v} = sum({l}) * 0.5",
    "{l}.sort()\n{v} = {l}[0] - {l}[-1]",
    "{u} = [e * 2.0 for e in {l} if e > {c}]\n{v} = sum({u}) + len({u})",
    "{v} = sum(a * b for a, b in zip({l}, {l}[1:])) + {x}",
    "{u} = {l} + [{x}]\n{v} = {u}[-1] * len({u})",
    "{u} = {l} * 2\n{v} = sum({u}) + len({u})",
    "{v} = 1.0 if {l} == sorted({l}) else 2.0",
    "{v} = 1.0 if {x} in {l} else 2.0",
    "{u} = iter({l})\n{v} = next({u}) + next({u}, {x})",
    "{u}, *{u}1 = {l}\n{v} = {u} - sum({u}1)",
    "{u} = [0.0] * 3\nfor {u}1, {u}2 in enumerate({l}):\n    {u}[{u}1 % 3] += {u}2\n"
    "{v} = {u}[0] - {u}[2]",
    "{u} = [0, 0]\nfor {u}1 in {l}:\n    {u}[{u}1 > {c}] += 1\n{v} = {u}[0] * 10.0 + {u}[1] + {x}",
    "{v} = {x}\nfor {u} in {l}:\n    {v} = {v} + {u} if {v} < {u} else {v} - {c}",
    "{u} = 0\nfor {u}1 in {l}:\n    {u} += {u}1 > {c}\n{v} = {u} * {x}",
    "{u} = [{x}, {y}, {z}]\n{u}.remove(max({u}))\n{v} = {u}[0] - {u}[1]",
    "{u} = [({x}, 'p'), ({y}, 'q')]\n{u}.sort()\n{v} = 1.0 if {u}[0][1] == 'p' else {x}",
    "{v} = functools.reduce(lambda a, b: 0.5 * a + b, {l}, {x})",
    "{v} = list(itertools.accumulate({l}))[-1] + {x}",
    "{v} = bisect.bisect(sorted({l}), {x}) + {y}",
    "{u} = [{x}, {y}, {z}]\nheapq.heapify({u})\n{v} = heapq.heappop({u}) + 0.5 * {u}[0]",
    "{u} = [len(list(g)) for k, g in itertools.groupby({l}, key=lambda e: e > {c})]\n"
    "{v} = {u}[0] + 10.0 * len({u})",
    "{u} = collections.Counter(e > {c} for e in {l})\n{v} = {u}[True] + {x}",
    "{u} = collections.deque({l}, maxlen=2)\n{u}.append({x})\n{v} = {u}[0] - {u}[-1]",
    "def {u}(e, k):\n    return e if k == 0 or e > {c} else {u}(e * 0.5 + 1.0, k - 1)\n"
    "{v} = {u}({x}, 3)",
    "{u} = collections.namedtuple('P', 'p q')({x}, {y})\n{v} = {u}.p - {u}.q * {u}[0]",
    "class {u}:\n    def __init__(self, e):\n        self.e = e\n        self.seen = 0\n"
    "    def step(self):\n        self.seen += 1\n        return self.e * self.seen\n"
    "{u}1 = {u}({x})\n{v} = {u}1.step() + {u}1.step()",
    "{v} = statistics.median([{x}, {y}, {z}])",
    "{v} = math.copysign(1.0, {n} - 2) * {x}",
)

IDIOMS = (
    (ARITHMETIC, 5),
    (REPEATED, 2),
    (DICTS, 3),
    (SETS, 2),
    (TRUTH, 3),
    (TEXT, 2),
    (INDICES, 3),
    (WHOLE, 3),
    (LOOPS, 3),
)
"""What programs are made of, and how often."""

KINDS = {
    "float": ("x", "y", "z", "w"),
    "whole": ("n", "m"),
    "element": ("j",),
    "list": ("l",),
    "dict": ("d",),
    "array": ("a",),
    "indices": ("i",),
    "flag": ("f",),
    "text": ("s",),
}
KIND_OF = {letter: kind for kind, letters in KINDS.items() for letter in letters}


@dataclass(frozen=True)
class PlainProgram:
    """A function of some arguments, as source.

    Attributes:
        source: ``def f(...)``.
        kinds: what each argument is, by its name.
        number: whether the result is one number.
        idioms: what it is made of.
    """

    source: str
    kinds: dict[str, str]
    number: bool
    idioms: tuple[str, ...]

    def __repr__(self) -> str:
        return "\n" + self.source.replace("q(", "(")

    def function(
        self, scope: Mapping[str, Any], q: Callable[[Any], Any] | None = None
    ) -> Callable[..., Any]:
        """The function, calling what is in the scope."""
        source = self.source if q is not None else self.source.replace("q(", "(")
        names: dict[str, Any] = {**scope, "q": q}
        exec(compile(source, "<program>", "exec"), names)
        found: Callable[..., Any] = names["f"]
        return found


def plain_program(seed: int, idiom: str | None = None) -> PlainProgram:
    """A random program, or one that is a certain idiom."""
    random = Random(f"program {seed}")
    kinds = {"x": "float"}
    for name, kind, chance in (
        ("y", "float", 0.7),
        ("n", "whole", 0.4),
        ("xs", "list", 0.5),
        ("d", "dict", 0.5),
        ("a", "array", 0.4),
        ("idx", "indices", 0.4),
        ("flag", "flag", 0.25),
        ("mode", "text", 0.25),
    ):
        if random.random() < chance or idiom is not None:
            kinds[name] = kind
    order = list(kinds)
    random.shuffle(order)
    kinds = {name: kinds[name] for name in order}
    pool: dict[str, list[str]] = {kind: [] for kind in KINDS}
    for name, kind in kinds.items():
        pool[kind].append(name)
    if pool["indices"]:
        pool["element"] += ["idx[0]", "idx[-1]"]
    lines: list[str] = []
    made: list[str] = []
    idioms: list[str] = []
    groups, weights = zip(*IDIOMS, strict=True)
    wanted = random.randint(1, 5) if idiom is None else 1
    while len(made) < wanted:
        template = idiom or random.choice(random.choices(groups, weights)[0])
        if any(part in template for part in ("{a}", "{i}", "{j}", "np.")) and "{v} =" in template:
            template += "\n{v} = plain({v})"
        letters = {found for _, found, _, _ in string.Formatter().parse(template) if found}
        if any(not pool[KIND_OF[letter]] for letter in letters if letter in KIND_OF):
            continue
        new, helper = f"v{len(made)}", f"u{len(made)}"
        names = {"v": new, "u": helper}
        for letter in sorted(letters):
            if letter in KIND_OF:
                names[letter] = random.choice(pool[KIND_OF[letter]][-4:])
            elif letter in "ce":
                names[letter] = repr(random.choice(NUMBERS))
        lines += template.format(**names).split("\n")
        pool["float"].append(new)
        made.append(new)
        idioms.append(template)
    number = random.random() < 0.7
    if number:
        lines.append("return " + " + ".join(f"{name} * {k}.0" for k, name in enumerate(made, 1)))
    else:
        values = ", ".join(f"'{name}': {name}" for name in made)
        tuples = ", ".join(made)
        lines.append(random.choice((f"return {{{values}}}", f"return ({tuples},)")))
    source = f"def f({', '.join(kinds)}):\n" + "".join(f"    {line}\n" for line in lines)
    return PlainProgram(source, kinds, number, tuple(idioms))


# Arguments


class Arguments:
    """Arguments that change from call to call, some of them in place.

    Args:
        program: what they are for.
        seed: of the changes.
    """

    def __init__(self, program: PlainProgram, seed: int) -> None:
        self.random = Random(f"arguments {seed}")
        self.program = program
        self.live: dict[str, Any] = {name: self._new(kind) for name, kind in program.kinds.items()}

    def snapshot(self) -> list[Any]:
        """A copy of all of them, in order."""
        return copy.deepcopy(list(self.live.values()))

    def change(self) -> None:
        """Other values for some."""
        for name, kind in self.program.kinds.items():
            choice = self.random.random()
            if choice < 0.35:
                self.live[name] = self._new(kind)
            elif choice < 0.7:
                self.live[name] = self._touched(kind, self.live[name])

    def _new(self, kind: str) -> Any:
        random = self.random
        if kind == "float":
            return self._float()
        if kind == "whole":
            return random.choice((0, 1, 2, 3, 4, 7))
        if kind == "list":
            return [self._float() for _ in range(random.choice((1, 2, 3, 3, 4)))]
        if kind == "dict":
            keys = random.sample(KEYS, random.choice((1, 2, 3, 3)))
            return {key: self._float() for key in keys}
        if kind == "array":
            return np.array([self._float() for _ in range(random.choice((2, 3, 3, 4)))])
        if kind == "indices":
            return np.array(
                [random.choice((0, 1, 2, 3, 5, 9)) for _ in range(random.choice((2, 3)))]
            )
        if kind == "flag":
            return random.random() < 0.5
        return random.choice(MODES)

    def _float(self) -> float:
        kind = self.random.random()
        if kind < 0.7:
            return self.random.choice(NUMBERS)
        if kind < 0.75:
            return math.log(5.0)  # whose exp is 5 or the number below, by who computes it
        return self.random.uniform(-3.0, 3.0)

    def _touched(self, kind: str, old: Any) -> Any:
        """The same object with other contents, where it has contents."""
        random = self.random
        if kind in ("list", "dict") and not old:  # the program has emptied it
            return self._new(kind)
        if kind == "list":
            change = random.random()
            if change < 0.4:
                old[random.randrange(len(old))] = self._float()
            elif change < 0.6:
                old.append(self._float())
            elif change < 0.8:
                old.reverse()
            elif len(old) > 1:
                old.pop()
            return old
        if kind == "dict":
            key = random.choice(list(old))
            if random.random() < 0.5:
                old[key] = old.pop(key)  # now the last one
            else:
                old[key] = self._float()
            return old
        if kind in ("array", "indices"):
            old[random.randrange(len(old))] = (
                self._float() if kind == "array" else random.choice((0, 1, 2, 4))
            )
            return old
        if kind == "float" and random.random() < 0.3:
            return -old
        return self._new(kind)
