"""Interventions, one file each, and their contract."""

from typing import TYPE_CHECKING, Any

from distxfer.interventions._contract import CKA_ROWS as CKA_ROWS
from distxfer.interventions._contract import LATER as LATER
from distxfer.interventions._contract import BoundIntervention as BoundIntervention
from distxfer.interventions._contract import Change as Change
from distxfer.interventions._contract import Intervention as Intervention
from distxfer.interventions._contract import Languages as Languages
from distxfer.interventions._contract import Need as Need
from distxfer.interventions._contract import Step as Step
from distxfer.interventions._contract import Teacher as Teacher
from distxfer.interventions._contract import Term as Term
from distxfer.interventions._contract import distinct_texts as distinct_texts
from distxfer.interventions._contract import empty_term as empty_term
from distxfer.interventions._contract import every as every
from distxfer.interventions._find import complaint as complaint
from distxfer.interventions._find import intervention_class as intervention_class
from distxfer.interventions._find import intervention_names as intervention_names
from distxfer.interventions._find import make_intervention as make_intervention
from distxfer.interventions._old_names import accept_old_names as accept_old_names
from distxfer.interventions._old_names import new_name

if not TYPE_CHECKING:  # type checkers shall refuse the old names

    def __getattr__(name: str) -> Any:
        """Return what now has another name."""
        if (new := new_name(name)) is not None:
            return globals()[new]
        raise AttributeError(f"module `{__name__}` has no `{name}`")
