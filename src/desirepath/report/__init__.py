# SPDX-License-Identifier: Apache-2.0
"""The report: one HTML file that opens offline and shows what a log holds and what models made of it."""

from desirepath.report.behaviour import BehaviourData, Ground
from desirepath.report.data import ReportData
from desirepath.report.page import write_report

__all__ = ["BehaviourData", "Ground", "ReportData", "write_report"]
