"""A new language from beginning to end."""

from distxfer.experiments._new_language._evaluate import Commonest as Commonest
from distxfer.experiments._new_language._evaluate import Evaluation as Evaluation
from distxfer.experiments._new_language._evaluate import MethodScore as MethodScore
from distxfer.experiments._new_language._given import Given as Given
from distxfer.experiments._new_language._given import Has as Has
from distxfer.experiments._new_language._plan import Estimate as Estimate
from distxfer.experiments._new_language._plan import LanguageOutcome as LanguageOutcome
from distxfer.experiments._new_language._plan import LanguagePlan as LanguagePlan
from distxfer.experiments._new_language._plan import carry_out as carry_out
from distxfer.experiments._new_language._plan import estimate_language as estimate_language
from distxfer.experiments._new_language._plan import plan_language as plan_language
from distxfer.experiments._new_language._proposal import Evidence as Evidence
from distxfer.experiments._new_language._proposal import Proposal as Proposal
from distxfer.experiments._new_language._proposal import proposals as proposals
