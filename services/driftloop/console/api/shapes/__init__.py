"""Every answer of the operator API, as structs; the names of fields are those of the JSON.

Unless a field says otherwise: wall times are ISO 8601 UTC texts ("" where there is none), fields
named `..._time` are event time in milliseconds since 1970 (the clock of the data; 0 where there is
none), `seconds` and `seq` are numbers, shares are 0 to 1, `None` is "not known".
"""

from driftloop.console.api.shapes.actions import Check as Check
from driftloop.console.api.shapes.actions import DiffLine as DiffLine
from driftloop.console.api.shapes.actions import Order as Order
from driftloop.console.api.shapes.actions import Problem as Problem
from driftloop.console.api.shapes.actions import Requeue as Requeue
from driftloop.console.api.shapes.actions import SpecText as SpecText
from driftloop.console.api.shapes.costs import Costs as Costs
from driftloop.console.api.shapes.costs import PredictionCost as PredictionCost
from driftloop.console.api.shapes.costs import TrainingCost as TrainingCost
from driftloop.console.api.shapes.data import Data as Data
from driftloop.console.api.shapes.data import DataOf as DataOf
from driftloop.console.api.shapes.data import DeadLetter as DeadLetter
from driftloop.console.api.shapes.data import DeadLetterBody as DeadLetterBody
from driftloop.console.api.shapes.data import DeadList as DeadList
from driftloop.console.api.shapes.data import Quantiles as Quantiles
from driftloop.console.api.shapes.data import QuarantineList as QuarantineList
from driftloop.console.api.shapes.data import QuarantineReason as QuarantineReason
from driftloop.console.api.shapes.data import QuarantineRow as QuarantineRow
from driftloop.console.api.shapes.data import Sum as Sum
from driftloop.console.api.shapes.events import EventDetail as EventDetail
from driftloop.console.api.shapes.events import Events as Events
from driftloop.console.api.shapes.live import Accounting as Accounting
from driftloop.console.api.shapes.live import Alarm as Alarm
from driftloop.console.api.shapes.live import Card as Card
from driftloop.console.api.shapes.live import Cards as Cards
from driftloop.console.api.shapes.live import DriftState as DriftState
from driftloop.console.api.shapes.live import Hello as Hello
from driftloop.console.api.shapes.live import Lag as Lag
from driftloop.console.api.shapes.live import Missed as Missed
from driftloop.console.api.shapes.live import Outage as Outage
from driftloop.console.api.shapes.live import Overview as Overview
from driftloop.console.api.shapes.live import Paused as Paused
from driftloop.console.api.shapes.live import RunNow as RunNow
from driftloop.console.api.shapes.live import Service as Service
from driftloop.console.api.shapes.live import State as State
from driftloop.console.api.shapes.model import Detector as Detector
from driftloop.console.api.shapes.model import Estimate as Estimate
from driftloop.console.api.shapes.model import EvidenceNow as EvidenceNow
from driftloop.console.api.shapes.model import Feature as Feature
from driftloop.console.api.shapes.model import Labels as Labels
from driftloop.console.api.shapes.model import Model as Model
from driftloop.console.api.shapes.model import RunShort as RunShort
from driftloop.console.api.shapes.model import Shadow as Shadow
from driftloop.console.api.shapes.model import SpecShort as SpecShort
from driftloop.console.api.shapes.model import Step as Step
from driftloop.console.api.shapes.model import VersionShort as VersionShort
from driftloop.console.api.shapes.past import Distribution as Distribution
from driftloop.console.api.shapes.past import Features as Features
from driftloop.console.api.shapes.past import LastAlarm as LastAlarm
from driftloop.console.api.shapes.past import Mark as Mark
from driftloop.console.api.shapes.past import SliceNow as SliceNow
from driftloop.console.api.shapes.past import Slices as Slices
from driftloop.console.api.shapes.past import SpecHistory as SpecHistory
from driftloop.console.api.shapes.past import SpecRevision as SpecRevision
from driftloop.console.api.shapes.past import Timeline as Timeline
from driftloop.console.api.shapes.runs import ChainLink as ChainLink
from driftloop.console.api.shapes.runs import RunDetail as RunDetail
from driftloop.console.api.shapes.runs import RunList as RunList
from driftloop.console.api.shapes.runs import StageDetail as StageDetail
from driftloop.console.api.shapes.versions import Compared as Compared
from driftloop.console.api.shapes.versions import Cost as Cost
from driftloop.console.api.shapes.versions import Differs as Differs
from driftloop.console.api.shapes.versions import GatePair as GatePair
from driftloop.console.api.shapes.versions import Numbers as Numbers
from driftloop.console.api.shapes.versions import VersionDetail as VersionDetail
from driftloop.console.api.shapes.versions import VersionDiff as VersionDiff
from driftloop.console.api.shapes.versions import Versions as Versions
from driftloop.contracts.why import Why as Why
