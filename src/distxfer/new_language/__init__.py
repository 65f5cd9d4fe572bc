"""The workflow for a new language: data, proposal, training, evaluation."""

from distxfer.new_language.evaluate import Commonest as Commonest
from distxfer.new_language.evaluate import Evaluation as Evaluation
from distxfer.new_language.evaluate import MethodScore as MethodScore
from distxfer.new_language.language_data import LanguageData as LanguageData
from distxfer.new_language.language_data import LanguageFiles as LanguageFiles
from distxfer.new_language.plan import Estimate as Estimate
from distxfer.new_language.plan import LanguageOutcome as LanguageOutcome
from distxfer.new_language.plan import LanguagePlan as LanguagePlan
from distxfer.new_language.plan import carry_out as carry_out
from distxfer.new_language.plan import estimate_language as estimate_language
from distxfer.new_language.plan import plan_language as plan_language
from distxfer.new_language.proposal import Evidence as Evidence
from distxfer.new_language.proposal import Proposal as Proposal
from distxfer.new_language.proposal import proposals as proposals
