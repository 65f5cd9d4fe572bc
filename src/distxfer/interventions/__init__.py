"""Interventions, one file each, and their contract."""

from distxfer.interventions._contract import CKA_ROWS as CKA_ROWS
from distxfer.interventions._contract import LATER as LATER
from distxfer.interventions._contract import Bound as Bound
from distxfer.interventions._contract import Change as Change
from distxfer.interventions._contract import Intervention as Intervention
from distxfer.interventions._contract import Languages as Languages
from distxfer.interventions._contract import Need as Need
from distxfer.interventions._contract import Step as Step
from distxfer.interventions._contract import Term as Term
from distxfer.interventions._contract import distinct_texts as distinct_texts
from distxfer.interventions._contract import every as every
from distxfer.interventions._contract import nothing as nothing
from distxfer.interventions._find import complaint as complaint
from distxfer.interventions._find import intervention_class as intervention_class
from distxfer.interventions._find import intervention_names as intervention_names
from distxfer.interventions._find import make_intervention as make_intervention
