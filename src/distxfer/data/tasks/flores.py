"""The task `flores`: find the translation of a sentence, between any two languages of FLORES+."""

from distxfer.data._examples import About, Data, Example, Task
from distxfer.data._hub import Dataset, HubRow, by_key, hub_task

# Version 4.6: JSON lines, {split}/{code}.jsonl; the commit that public code pins. Of two varieties of a language, one is
# listed.
DATASET = Dataset(
    "openlanguagedata/flores_plus",
    "5fec6c13f9e5a4db2f745d4ec0d7c9721ddc4f06",
    ("{split}/{code}.jsonl",),
    by_key(
        "ace_Arab ace_Latn acm_Arab acq_Arab aeb_Arab afr_Latn als_Latn amh_Ethi arb_Arab arb_Latn arg_Latn "
        "ars_Arab ary_Arab arz_Arab asm_Beng ast_Latn awa_Deva ayr_Latn azb_Arab azj_Latn bak_Cyrl bam_Latn "
        "ban_Latn bel_Cyrl bem_Latn ben_Beng bho_Deva bjn_Arab bjn_Latn bod_Tibt bos_Latn brx_Deva bug_Latn "
        "bul_Cyrl cat_Latn ceb_Latn ces_Latn chv_Cyrl cjk_Latn ckb_Arab cmn_Hans cmn_Hant crh_Latn cym_Latn "
        "dan_Latn dar_Cyrl deu_Latn dgo_Deva dik_Latn dyu_Latn dzo_Tibt ekk_Latn ell_Grek eng_Latn epo_Latn "
        "eus_Latn ewe_Latn fao_Latn fij_Latn fil_Latn fin_Latn fon_Latn fra_Latn fur_Latn fuv_Latn gaz_Latn "
        "gla_Latn gle_Latn glg_Latn gom_Deva gug_Latn guj_Gujr hat_Latn hau_Latn heb_Hebr hin_Deva hne_Deva "
        "hrv_Latn hun_Latn hye_Armn ibo_Latn ilo_Latn ind_Latn isl_Latn ita_Latn jav_Latn jpn_Jpan kaa_Latn "
        "kab_Latn kac_Latn kam_Latn kan_Knda kas_Arab kas_Deva kat_Geor kaz_Cyrl kbp_Latn kea_Latn khk_Cyrl "
        "khk_Mong khm_Khmr kik_Latn kin_Latn kir_Cyrl kjh_Cyrl kmb_Latn kmr_Latn knc_Arab knc_Latn kor_Hang "
        "ktu_Latn lao_Laoo lij_Latn lim_Latn lin_Latn lit_Latn lld_Latn lmo_Latn ltg_Latn ltz_Latn lua_Latn "
        "lug_Latn luo_Latn lus_Latn lvs_Latn mag_Deva mai_Deva mal_Mlym mar_Deva mfe_Latn mhr_Cyrl min_Arab "
        "min_Latn mkd_Cyrl mlt_Latn mni_Beng mni_Mtei mos_Latn mri_Latn mya_Mymr myv_Cyrl nld_Latn nno_Latn "
        "nob_Latn npi_Deva nqo_Nkoo nso_Latn nus_Latn nya_Latn oci_Latn ory_Orya pag_Latn pan_Guru pap_Latn "
        "pbt_Arab pes_Arab plt_Latn pol_Latn por_Latn prs_Arab quy_Latn ron_Latn run_Latn rus_Cyrl sag_Latn "
        "san_Deva sat_Olck scn_Latn shn_Mymr sin_Sinh slk_Latn slv_Latn smo_Latn sna_Latn snd_Arab snd_Deva "
        "som_Latn sot_Latn spa_Latn srd_Latn srp_Cyrl ssw_Latn sun_Latn swe_Latn swh_Latn szl_Latn tam_Taml "
        "taq_Latn taq_Tfng tat_Cyrl tel_Telu tgk_Cyrl tha_Thai tir_Ethi tpi_Latn tsn_Latn tso_Latn tuk_Latn "
        "tum_Latn tur_Latn tyv_Cyrl uig_Arab ukr_Cyrl umb_Latn urd_Arab uzn_Latn uzs_Arab vec_Latn vie_Latn "
        "vmw_Latn war_Latn wol_Latn wuu_Hans xho_Latn ydd_Hebr yor_Latn yue_Hant zgh_Tfng zsm_Latn zul_Latn",
        apc="apc_Arab_nort3139",
        twi="twi_Latn_asan1239",
    ),
    {"dev": "dev", "test": "devtest"},
)
ABOUT = About(
    "find the translation: 1,012 sentences of Wikimedia in over 200 languages, all of them parallel",
    task_type="retrieval",
    needs="hub, its terms accepted",
    size="no training, 997 dev, 1,012 test",
    licence="CC-BY-SA-4.0",
    citation="NLLB Team 2022, No Language Left Behind, arXiv:2207.04672; Goyal et al. 2022, FLORES-101, TACL",
    source=DATASET.repository,
    revision=DATASET.revision,
    keys=("folder", "revision"),
)


def languages(data: Data) -> tuple[str, ...]:
    """Return the languages of the task; a few have no test part."""
    return tuple(DATASET.codes)


def load(data: Data, source: str, targets: tuple[str, ...], *, target_labels: bool) -> Task:
    """Return the task; the same sentences, with the same ids, in every language."""
    return hub_task(data, (DATASET,), read, source, targets, target_labels=target_labels, task_type=ABOUT.task_type)


def read(row: HubRow) -> Example | str:
    """Return the sentence of a row, or the reason to leave it out."""
    text = row.text("text").strip()
    return Example(row.key("id"), row.language, text) if text else "no text"
