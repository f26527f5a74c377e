"""List the packages: each of the five folders at the top is one package of memoirist."""

from setuptools import find_packages, setup

FOLDERS = ("data", "extractors", "generators", "train", "flows")

setup(
    packages=[
        f"memoirist.{package}"
        for package in find_packages(include=[*FOLDERS, *(f"{folder}.*" for folder in FOLDERS)])
    ]
)
